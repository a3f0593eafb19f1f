from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._loop import while_loop
from .._result import RESULTS
from .._types import Scalar
from ..implicit import attach, Implicit
from ..penalties import AbstractPenalty, NonNegative, Simplex, Tilted
from ..problems import Composite
from ..smooth import Quadratic
from ..solvers import ADMM, solve
from ._library_input import LibraryInput
from ._sparse_active_set import solve_sparse


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


@partial(jax.jit, static_argnames="sum_to_one")
def fit_sparse(
    smooth: Quadratic, strength: Array, fallback: ADMM, *, sum_to_one: bool = False
) -> tuple[Float[Array, "M N"], RESULTS]:
    """The minimizer of the fit with an l1 norm over nonnegative abundances, or without over the simplex, exact.

    By the active set; pixels in which it does not end, as those of dense abundances, are those of `fallback`.
    """
    penalty = Simplex(1.0, axis=0) if sum_to_one else Tilted(NonNegative(), strength)
    problem = Composite(smooth, penalty)
    frozen_smooth, frozen_strength, frozen_penalty = _tree.stop_gradient((smooth, strength, penalty))
    gram = frozen_smooth.matrix.columns(jnp.arange(smooth.vector.shape[0]))
    cross = -frozen_smooth.vector if sum_to_one else -frozen_smooth.vector - frozen_strength
    found, done = solve_sparse(gram, cross, sum_to_one=sum_to_one)

    # A loop of one round at most: what no pixel of a batch needs costs nothing, under `vmap` as well.
    def finish(carry: tuple[Array, Array, RESULTS]) -> tuple[Array, Array, RESULTS]:
        abundances, result = fit(frozen_smooth, frozen_penalty, fallback)
        return jnp.where(done[None, :], carry[0], abundances), jnp.asarray(True), result

    start = (found, jnp.all(done), RESULTS.converged)
    abundances, _, result = while_loop(lambda carry: ~carry[1], finish, start)
    step = 1 / jnp.maximum(jnp.trace(gram), jnp.finfo(gram.dtype).tiny)
    tol = jnp.asarray(jnp.finfo(gram.dtype).eps, gram.dtype)
    return attach(Implicit(), problem, abundances, step, tol), result
