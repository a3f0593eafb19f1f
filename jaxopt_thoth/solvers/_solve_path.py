from collections.abc import Callable
from typing import Any

from .._loop import Progress
from .._result import Solution
from .._types import Params
from ..implicit import AbstractAdjoint
from ..problems import Composite
from ..stopping import AbstractStop
from ._base import AbstractSolver
from ._blocks import solve_blocks


def solve_path(
    problem_of: Callable[[Any], Composite],
    strengths: Any,
    solver: AbstractSolver,
    params: Params,
    *,
    chunk: int = 1,
    stop: AbstractStop | None = None,
    adjoint: AbstractAdjoint | None = None,
    progress: Progress | None = None,
    throw: bool = False,
) -> Solution:
    """Solve a sequence of neighbouring problems, each warm-started at the solution before it.

    Order the strengths from strong to weak: solutions then grow from few entries to many, and each start is near. A
    `chunk` above one solves that many neighbours at once under `vmap`, from one common start.

    Outside of `jax.jit` each call traces and compiles anew: put one `jax.jit` around code that calls it often.

    Args:
        problem_of: maps one strength (one slice of `strengths` along its leading axis) to its problem.
        strengths: array (k,), or a pytree of arrays with a common leading axis.
        solver: the method.
        params: start of the first problem.
        chunk: number of neighbours solved together; 5 to 20 pays where a matrix product is cheap by the column.
        stop, adjoint, throw: as in `solve`. Warm starts carry no derivative.
        progress: called on the host as `progress(done, total)` after each block.

    Returns:
        A `Solution` whose fields have the leading axis of `strengths`.

    Raises:
        TypeError: if a problem, `solver`, `stop` or `adjoint` is of another kind.
        ValueError: if the leading axes differ or `chunk` is below one.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem_of = lambda s: jt.Composite(jt.Quadratic(jnp.eye(1), jnp.array([-3.0])), jt.penalties.L1(s))
        >>> solution = jt.solve_path(problem_of, jnp.array([2.0, 1.0]), jt.ProximalGradient(), jnp.zeros(1))
        >>> print(solution.params[:, 0].round())
        [1. 2.]
    """
    return solve_blocks(problem_of, strengths, solver, params, stop, adjoint, chunk, True, progress, throw)
