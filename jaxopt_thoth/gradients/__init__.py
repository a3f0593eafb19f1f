"""Transformations of gradients: clipping, per-example gradients, averages of weights, optimizers over norm balls."""

from ._abstract_clipping import AbstractClipping as AbstractClipping, AbstractNormClipping as AbstractNormClipping
from ._auto_s import AutoS as AutoS
from ._clip import clip as clip
from ._clip_transform import clip_transform as clip_transform
from ._clip_with_error_feedback import clip_with_error_feedback as clip_with_error_feedback
from ._clipped_descent import clipped_descent as clipped_descent
from ._clipped_descent_bound import clipped_descent_bound as clipped_descent_bound
from ._clipping_bias import clipping_bias as clipping_bias
from ._clipping_bias_bound import clipping_bias_bound as clipping_bias_bound
from ._clipping_bias_interval import clipping_bias_interval as clipping_bias_interval
from ._clipping_extremal_law import clipping_extremal_law as clipping_extremal_law
from ._clipping_floor import clipping_floor as clipping_floor
from ._coordinate_clip import CoordinateClip as CoordinateClip
from ._dct_basis import dct_basis as dct_basis, dct_coefficients as dct_coefficients, dct_columns as dct_columns
from ._dct_low_rank import dct_low_rank as dct_low_rank, DCTLowRankState as DCTLowRankState
from ._ema import ema_params as ema_params, EMAState as EMAState, with_ema as with_ema
from ._ema_decay import AbstractDecay as AbstractDecay, ConstantDecay as ConstantDecay, WarmupDecay as WarmupDecay
from ._engine_costs import engine_costs as engine_costs, EngineCosts as EngineCosts
from ._global_clip import GlobalClip as GlobalClip
from ._lmo import AbstractLMO as AbstractLMO
from ._lmo_entrywise import L1LMO as L1LMO, L2LMO as L2LMO, LInfLMO as LInfLMO
from ._lmo_nuclear import NuclearLMO as NuclearLMO
from ._lmo_rows import ColumnLMO as ColumnLMO, RowLMO as RowLMO
from ._lmo_scion import scale_by_lmo as scale_by_lmo, scion as scion
from ._lmo_spectral import RMSToRMSLMO as RMSToRMSLMO, SpectralLMO as SpectralLMO
from ._noise_adaptive import noise_adaptive as noise_adaptive, NoiseAdaptiveState as NoiseAdaptiveState
from ._normalized_clip import NormalizedClip as NormalizedClip
from ._per_example import ClippedSum as ClippedSum, per_example as per_example, PerExample as PerExample
from ._per_layer_clip import PerLayerClip as PerLayerClip
from ._power_ema import PowerDecay as PowerDecay
from ._power_ema_post_hoc import post_hoc_coefficients as post_hoc_coefficients, post_hoc_ema as post_hoc_ema
from ._power_ema_width import power_from_width as power_from_width, width_from_power as width_from_power
from ._psac import PSAC as PSAC
from ._quantile_clip import QuantileClip as QuantileClip, QuantileClipState as QuantileClipState
from ._relation import NeighboringRelation as NeighboringRelation
from ._smooth_clip import SmoothClip as SmoothClip
from ._weight_average_horizon import (
    ema_decay_every as ema_decay_every,
    ema_decay_from_half_life as ema_decay_from_half_life,
    ema_half_life as ema_half_life,
    ema_lag as ema_lag,
    ema_variance_ratio as ema_variance_ratio,
    ema_weights as ema_weights,
    ema_window as ema_window,
)
