import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from ..penalties import AbstractPenalty
from ..problems import Composite
from ..smooth import Quadratic
from ..solvers import ADMM, solve
from ._library_input import LibraryInput


# Tolerances on the residuals of ADMM at which the error of the abundances is that of the solution to 0.1 dB.
_TOLERANCE = {2: 1e-3, 4: 3e-5, 8: 1e-6}
# In single precision rounding stalls the residuals, on libraries of nearly equal spectra, soon after that.
_MAX_STEPS = {2: 100, 4: 300, 8: 1000}


def default_admm(task: LibraryInput) -> ADMM:
    """ADMM with a tolerance that suits abundances, entries far below one in a library of many atoms."""
    size = task.pixels.dtype.itemsize
    return ADMM(tol=_TOLERANCE[size], max_steps=_MAX_STEPS[size])


def unit_of(task: LibraryInput) -> Scalar:
    """Mean square of the entries of the library: by it the fit and all strengths are divided."""
    square = jnp.mean(task.library * task.library)
    return jnp.where(square > 0, square, 1)


def least_squares(task: LibraryInput) -> Quadratic:
    """`|Y - D X|^2 / 2` in abundances X (M, N), up to a constant and in units of the library."""
    unit = unit_of(task)
    gram = jnp.matmul(task.library.T, task.library, precision="highest") / unit
    cross = jnp.matmul(task.library.T, task.pixels, precision="highest") / unit
    return Quadratic((gram + gram.T) / 2, -cross)


def fit(smooth: Quadratic, penalty: AbstractPenalty, solver: ADMM) -> tuple[Float[Array, "M N"], RESULTS]:
    """The minimizer of fit and penalty over abundances, and how the solver ended."""
    start = _tree.zeros_like(smooth.vector)
    solution = solve(Composite(smooth, penalty), solver, start)
    return solution.params, solution.result
