"""Differentiable optimisation and hyperspectral unmixing in JAX."""

from importlib.metadata import version as _version

from . import (
    implicit as implicit,
    losses as losses,
    mirror as mirror,
    operators as operators,
    penalties as penalties,
    problems as problems,
    projections as projections,
    smooth as smooth,
    solvers as solvers,
    stopping as stopping,
    unmixing as unmixing,
)
from ._result import RESULTS as RESULTS, Solution as Solution
from .problems import Composite as Composite
from .smooth import FunctionTerm as FunctionTerm, LinearModel as LinearModel, Quadratic as Quadratic
from .solvers import (
    ProximalGradient as ProximalGradient,
    solve as solve,
    solve_batched as solve_batched,
    solve_path as solve_path,
)


__version__ = _version("jaxopt_thoth")
