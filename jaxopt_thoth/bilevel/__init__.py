"""Two levels of optimization: hypergradients, and methods that descend along them."""

from ._aid import AID as AID, AIDState as AIDState
from ._amigo import AmIGO as AmIGO
from ._base import AbstractBilevelSolver as AbstractBilevelSolver
from ._bilevel import Bilevel as Bilevel, BilevelPoint as BilevelPoint
from ._categorical_kl import kl_categorical as kl_categorical
from ._categorical_kl_proximal import kl_proximal_categorical as kl_proximal_categorical
from ._categorical_natural_gradient import categorical_natural_gradient as categorical_natural_gradient
from ._categorical_policy import CategoricalPolicy as CategoricalPolicy
from ._distribution_bilevel import DistributionBilevel as DistributionBilevel
from ._distribution_bilevel_state import (
    DistributionBilevelRecord as DistributionBilevelRecord,
    DistributionBilevelState as DistributionBilevelState,
)
from ._distribution_enumeration_gradient import enumeration_gradient as enumeration_gradient
from ._distribution_pathwise_gradient import pathwise_gradient as pathwise_gradient
from ._distribution_score_gradient import score_function_gradient as score_function_gradient
from ._error_bound import AbstractErrorBound as AbstractErrorBound, ErrorBound as ErrorBound
from ._f2sa import F2SA as F2SA, F2SAState as F2SAState
from ._functional_adjoint import (
    AbstractFunctionalAdjoint as AbstractFunctionalAdjoint,
    FunctionalAdjoint as FunctionalAdjoint,
    FunctionalSystem as FunctionalSystem,
)
from ._functional_bilevel import (
    FunctionalBilevel as FunctionalBilevel,
    FunctionalBilevelRecord as FunctionalBilevelRecord,
    FunctionalBilevelState as FunctionalBilevelState,
)
from ._functional_exact_discrete import ExactDiscrete as ExactDiscrete
from ._functional_hypergradient import (
    functional_hypergradient as functional_hypergradient,
    FunctionalHypergradient as FunctionalHypergradient,
)
from ._functional_instrumental import (
    instrumental_regression as instrumental_regression,
    InstrumentalRegression as InstrumentalRegression,
)
from ._functional_linear_features import LinearFeatures as LinearFeatures
from ._functional_network import NetworkAdjoint as NetworkAdjoint
from ._heuristic_error_bound import HeuristicErrorBound as HeuristicErrorBound
from ._hoag import HOAG as HOAG, HOAGState as HOAGState
from ._hyper_conv2d import HyperConv2d as HyperConv2d
from ._hyper_layer import AbstractHyperLayer as AbstractHyperLayer
from ._hyper_linear import HyperLinear as HyperLinear
from ._hypergradient import Hypergradient as Hypergradient, hypergradient as hypergradient
from ._hyperparameter_dropout import DropoutRate as DropoutRate
from ._hyperparameter_entropy import perturbation_entropy as perturbation_entropy
from ._hyperparameter_interval import Interval as Interval
from ._hyperparameter_map import AbstractHyperparameterMap as AbstractHyperparameterMap
from ._hyperparameter_one_sided import OneSided as OneSided
from ._hyperparameter_perturb import perturb as perturb
from ._itd import ITD as ITD, ITDState as ITDState
from ._maid import MAID as MAID
from ._maid_state import MAIDState as MAIDState
from ._saba import SABA as SABA, SABAState as SABAState
from ._self_tuning import SelfTuning as SelfTuning
from ._self_tuning_linearized_response import linearized_response as linearized_response
from ._self_tuning_state import (
    SelfTuningRecord as SelfTuningRecord,
    SelfTuningState as SelfTuningState,
)
from ._smoothed_uniform import SmoothedUniform as SmoothedUniform
from ._soba import SOBA as SOBA
from ._stocbio import StocBiO as StocBiO
from ._stochastic import StochasticBilevelState as StochasticBilevelState
from ._two_stage_least_squares import (
    two_stage_least_squares as two_stage_least_squares,
    TwoStageLeastSquares as TwoStageLeastSquares,
)
from ._value_and_hypergradient import value_and_hypergradient as value_and_hypergradient
