from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._loop import Progress
from .._result import Solution
from .._types import Params
from ..implicit import AbstractAdjoint
from ..problems import Composite
from ..stopping import AbstractStop
from ._base import AbstractSolver
from ._blocks import batch_size, solve_blocks


# Bytes of one problem whose products take longer than what a step costs besides.
_CACHED = 64 * 1024


def solve_batched(
    problem_of: Callable[[Any], Composite],
    batch: Any,
    solver: AbstractSolver,
    params: Params,
    *,
    chunk: int | None = None,
    difficulty: ArrayLike | None = None,
    stop: AbstractStop | None = None,
    adjoint: AbstractAdjoint | None = None,
    progress: Progress | None = None,
    throw: bool = False,
) -> Solution:
    """Solve many problems from one start, in chunks of like difficulty.

    Under plain `vmap` every problem takes as many steps as the slowest one; within a chunk of like difficulty little is
    wasted, and memory is bounded by the chunk.

    Outside of `jax.jit` each call traces and compiles anew: put one `jax.jit` around code that calls it often.

    Args:
        problem_of: maps one slice of `batch` to its problem; `lambda problem: problem` for a batch of problems.
        batch: a pytree of arrays with a common leading axis.
        solver: the method.
        params: common starting point.
        chunk: number of problems solved together under `vmap`; by default 32, or one after the other on a CPU where the
            arrays of a single problem take 64 kB, so that they stay in its cache.
        difficulty: one number a problem, by which they are sorted into chunks (such as minus the strength); by default
            the given order is kept, which suits a sorted grid.
        stop, adjoint, throw: as in `solve`.
        progress: called on the host as `progress(done, total)` after each chunk.

    Returns:
        A `Solution` whose fields have the leading axis of `batch`, in its order.

    Raises:
        TypeError: if a problem, `solver`, `stop` or `adjoint` is of another kind.
        ValueError: if the leading axes differ, `chunk` is below one, or `difficulty` has another length.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem_of = lambda q: jt.Composite(jt.Quadratic(jnp.eye(1), q), jt.penalties.NonNegative())
        >>> batch = jnp.array([[-1.0], [-2.0], [3.0]])
        >>> solution = jt.solve_batched(problem_of, batch, jt.ProximalGradient(), jnp.zeros(1), chunk=2)
        >>> print(solution.params[:, 0].round())
        [1. 2. 0.]
    """
    if chunk is None:
        chunk = _default_chunk(batch)
    length = batch_size(batch, chunk)
    order = None
    if difficulty is not None:
        if jnp.shape(difficulty) != (length,):
            raise ValueError(f"difficulty must have shape ({length},) like the batch, got {jnp.shape(difficulty)}.")
        order = jnp.argsort(jnp.asarray(difficulty))
    return solve_blocks(problem_of, batch, solver, params, stop, adjoint, chunk, False, progress, throw, order)


def _default_chunk(batch: Any) -> int:
    length = batch_size(batch, 1)
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(batch)]
    large = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) >= _CACHED * length
    return 1 if large and jax.default_backend() == "cpu" else 32
