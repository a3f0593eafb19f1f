"""Differentiable optimisation and hyperspectral unmixing in JAX."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from types import ModuleType as _ModuleType

from . import (
    bilevel as bilevel,
    erm as erm,
    gradients as gradients,
    implicit as implicit,
    losses as losses,
    mirror as mirror,
    operators as operators,
    penalties as penalties,
    privacy as privacy,
    problems as problems,
    projections as projections,
    restoration as restoration,
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
    AcceleratedSVRG as AcceleratedSVRG,
    ADMM as ADMM,
    AndersonAcceleration as AndersonAcceleration,
    BlockCoordinateDescent as BlockCoordinateDescent,
    Catalyst as Catalyst,
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
    MISO as MISO,
    OptimisticMirrorDescent as OptimisticMirrorDescent,
    OSQP as OSQP,
    ProximalGradient as ProximalGradient,
    ProximalNewton as ProximalNewton,
    QNing as QNing,
    SAGA as SAGA,
    SemismoothNewton as SemismoothNewton,
    solve as solve,
    solve_batched as solve_batched,
    solve_path as solve_path,
    StochasticMirrorDescent as StochasticMirrorDescent,
    SVRG as SVRG,
    WorkingSetDescent as WorkingSetDescent,
)


__version__ = _version("jaxopt_thoth")


def __getattr__(name: str) -> _ModuleType:
    # Importing scikit-learn takes longer than all the rest.
    if name == "linear_model":
        return _import_module(".linear_model", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "linear_model"})
