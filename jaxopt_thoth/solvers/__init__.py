"""Solvers, and the functions that drive them."""

from ._accelerated_bregman import (
    AcceleratedBregmanProximalGradient as AcceleratedBregmanProximalGradient,
    AcceleratedBregmanState as AcceleratedBregmanState,
)
from ._accelerated_chambolle_pock import (
    AcceleratedChambollePock as AcceleratedChambollePock,
    AcceleratedChambollePockState as AcceleratedChambollePockState,
)
from ._accelerated_svrg import AcceleratedSVRG as AcceleratedSVRG, AcceleratedSVRGState as AcceleratedSVRGState
from ._ada_grad_norm_step import AdaGradNormStep as AdaGradNormStep
from ._admm import ADMM as ADMM, ADMMState as ADMMState
from ._anderson import (
    AndersonAcceleration as AndersonAcceleration,
    AndersonAccelerationState as AndersonAccelerationState,
)
from ._base import AbstractSolver as AbstractSolver
from ._block_coordinate_descent import (
    BlockCoordinateDescent as BlockCoordinateDescent,
    BlockCoordinateDescentState as BlockCoordinateDescentState,
)
from ._catalyst import Catalyst as Catalyst, CatalystState as CatalystState
from ._chambolle_pock import ChambollePock as ChambollePock, ChambollePockState as ChambollePockState
from ._davis_yin import DavisYin as DavisYin, SplittingState as SplittingState
from ._decaying_step import DecayingStep as DecayingStep
from ._douglas_rachford import DouglasRachford as DouglasRachford
from ._dual_averaging import DualAveraging as DualAveraging, DualAveragingState as DualAveragingState
from ._exponentiated_gradient import (
    ExponentiatedGradient as ExponentiatedGradient,
    ExponentiatedGradientState as ExponentiatedGradientState,
)
from ._frank_wolfe import FrankWolfe as FrankWolfe, FrankWolfeState as FrankWolfeState
from ._gauss_newton import GaussNewton as GaussNewton, GaussNewtonState as GaussNewtonState
from ._harmonic_step import HarmonicStep as HarmonicStep
from ._lbfgsb import LBFGSB as LBFGSB, LBFGSBState as LBFGSBState
from ._levenberg_marquardt import (
    LevenbergMarquardt as LevenbergMarquardt,
    LevenbergMarquardtState as LevenbergMarquardtState,
)
from ._matrix_game import matrix_game as matrix_game, MatrixGameSolution as MatrixGameSolution
from ._mirror_descent import MirrorDescent as MirrorDescent, MirrorDescentState as MirrorDescentState
from ._mirror_prox import MirrorProx as MirrorProx, MirrorProxState as MirrorProxState
from ._miso import MISO as MISO, MISOState as MISOState
from ._ntk_gram import ntk_gram as ntk_gram
from ._optimistic_mirror_descent import (
    OptimisticMirrorDescent as OptimisticMirrorDescent,
    OptimisticMirrorDescentState as OptimisticMirrorDescentState,
)
from ._osqp import OSQP as OSQP, OSQPState as OSQPState
from ._plug_and_play import PlugAndPlay as PlugAndPlay, PlugAndPlayState as PlugAndPlayState
from ._polyak_step import PolyakStep as PolyakStep
from ._proximal_gradient import ProximalGradient as ProximalGradient, ProximalGradientState as ProximalGradientState
from ._proximal_newton import ProximalNewton as ProximalNewton, ProximalNewtonState as ProximalNewtonState
from ._qning import QNing as QNing, QNingState as QNingState
from ._relative_variance import relative_variance as relative_variance, RelativeVariance as RelativeVariance
from ._saga import SAGA as SAGA, SAGAState as SAGAState
from ._semismooth_newton import SemismoothNewton as SemismoothNewton, SemismoothNewtonState as SemismoothNewtonState
from ._solve import solve as solve
from ._solve_batched import solve_batched as solve_batched
from ._solve_path import solve_path as solve_path
from ._step_rule import AbstractStepRule as AbstractStepRule, StepInfo as StepInfo
from ._stochastic_mirror_descent import (
    StochasticMirrorDescent as StochasticMirrorDescent,
    StochasticMirrorDescentState as StochasticMirrorDescentState,
)
from ._svrg import SVRG as SVRG, SVRGState as SVRGState
from ._unrolled_network import UnrolledNetwork as UnrolledNetwork
from ._weighted_direction_distance import weighted_direction_distance as weighted_direction_distance
from ._working_set_descent import (
    WorkingSetDescent as WorkingSetDescent,
    WorkingSetDescentState as WorkingSetDescentState,
)
