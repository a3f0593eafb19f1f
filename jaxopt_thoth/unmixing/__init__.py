"""Hyperspectral unmixing: scenes, endmember extraction, abundances, and how far they are from the truth."""

from . import metrics as metrics, networks as networks, uncertainty as uncertainty
from ._align import align as align, permute as permute
from ._archetypal_analysis import archetypal_analysis as archetypal_analysis
from ._atgp import atgp as atgp
from ._auto_unmix import auto_unmix as auto_unmix
from ._bundle_unmix import bundle_unmix as bundle_unmix
from ._bundles import bundles as bundles
from ._clsunsal import clsunsal as clsunsal
from ._cube import cube_to_pixels as cube_to_pixels, pixels_to_cube as pixels_to_cube
from ._edaa import edaa as edaa
from ._elmm import elmm as elmm
from ._estimate_noise import estimate_noise as estimate_noise
from ._evaluate import evaluate as evaluate
from ._fan import Fan as Fan
from ._fasun import fasun as fasun
from ._fclsu import fclsu as fclsu, fclsu_gram as fclsu_gram
from ._generalized_bilinear import GeneralizedBilinear as GeneralizedBilinear
from ._hapke import Hapke as Hapke
from ._hysime import hysime as hysime, SignalSubspace as SignalSubspace
from ._load import load_scene as load_scene
from ._mesma import mesma as mesma
from ._ml_simplex import ml_simplex as ml_simplex
from ._mua import mua as mua
from ._multilinear import Multilinear as Multilinear
from ._mvc_nmf import mvc_nmf as mvc_nmf
from ._mvsa import mvsa as mvsa
from ._n_findr import nfindr as nfindr
from ._ncls import ncls as ncls
from ._nmf import nmf as nmf
from ._nmf_qmv import nmf_qmv as nmf_qmv
from ._noise import awgn as awgn
from ._normalize import (
    bandwise_minmax as bandwise_minmax,
    global_minmax as global_minmax,
    pixel_l1 as pixel_l1,
    pixel_l2 as pixel_l2,
)
from ._plmm import plmm as plmm
from ._ppi import ppi as ppi, purity_counts as purity_counts
from ._ppnm import PolynomialPostNonlinear as PolynomialPostNonlinear
from ._prune_library import prune_library as prune_library
from ._resample_spectra import resample_spectra as resample_spectra
from ._robust_archetypal_analysis import robust_archetypal_analysis as robust_archetypal_analysis
from ._s2wsu import s2wsu as s2wsu
from ._save import save_scene as save_scene
from ._scene import Scene as Scene
from ._scene_error import SceneError as SceneError
from ._scls import scls as scls
from ._sclsu import sclsu as sclsu
from ._shard_pixels import shard_pixels as shard_pixels
from ._simplex_fit import SimplexFit as SimplexFit
from ._simulate import simulate_scene as simulate_scene
from ._sisal import sisal as sisal
from ._sivm import sivm as sivm
from ._spa import spa as spa
from ._sunaa import sunaa as sunaa
from ._sunaa_tv import sunaa_tv as sunaa_tv
from ._suns import suns as suns
from ._sunsal import sunsal as sunsal
from ._sunsal_tv import sunsal_tv as sunsal_tv
from ._superpixels import superpixels as superpixels
from ._ucls import ucls as ucls
from ._unmix import unmix as unmix
from ._unmixing import Unmixing as Unmixing
from ._vca import vca as vca
from ._virtual_dimensionality import hfc as hfc, nwhfc as nwhfc
from .files import (
    edaa_tiles as edaa_tiles,
    GeoReference as GeoReference,
    open_scene as open_scene,
    sample_pixels as sample_pixels,
    SceneSource as SceneSource,
    TiledUnmixing as TiledUnmixing,
    unmix_tiles as unmix_tiles,
    write_maps as write_maps,
)
from .networks import (
    admmnet as admmnet,
    cnnaeu as cnnaeu,
    misicnet as misicnet,
    msnet as msnet,
    pgmsu as pgmsu,
    suncnn as suncnn,
    undip as undip,
)
