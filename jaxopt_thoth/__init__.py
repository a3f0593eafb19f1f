"""Differentiable optimisation and hyperspectral unmixing in JAX."""

from importlib.metadata import version as _version

from . import (
    bilevel as bilevel,
    gradients as gradients,
    implicit as implicit,
    losses as losses,
    mirror as mirror,
    operators as operators,
    penalties as penalties,
    privacy as privacy,
    problems as problems,
    projections as projections,
    smooth as smooth,
    solvers as solvers,
    stopping as stopping,
    unmixing as unmixing,
)
from ._result import RESULTS as RESULTS, Solution as Solution
from .problems import Composite as Composite, QuadraticProgram as QuadraticProgram, SaddlePoint as SaddlePoint
from .smooth import FunctionTerm as FunctionTerm, LinearModel as LinearModel, Quadratic as Quadratic
from .solvers import (
    AcceleratedBregmanProximalGradient as AcceleratedBregmanProximalGradient,
    ADMM as ADMM,
    AndersonAcceleration as AndersonAcceleration,
    BlockCoordinateDescent as BlockCoordinateDescent,
    ChambollePock as ChambollePock,
    DavisYin as DavisYin,
    DouglasRachford as DouglasRachford,
    DualAveraging as DualAveraging,
    ExponentiatedGradient as ExponentiatedGradient,
    FrankWolfe as FrankWolfe,
    GaussNewton as GaussNewton,
    LBFGSB as LBFGSB,
    LevenbergMarquardt as LevenbergMarquardt,
    MirrorDescent as MirrorDescent,
    MirrorProx as MirrorProx,
    OptimisticMirrorDescent as OptimisticMirrorDescent,
    OSQP as OSQP,
    ProximalGradient as ProximalGradient,
    ProximalNewton as ProximalNewton,
    SemismoothNewton as SemismoothNewton,
    solve as solve,
    solve_batched as solve_batched,
    solve_path as solve_path,
    StochasticMirrorDescent as StochasticMirrorDescent,
)


__version__ = _version("jaxopt_thoth")
