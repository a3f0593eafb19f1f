from typing import Any

from .._result import Solution
from .._types import Params
from ..implicit import Implicit
from ..solvers import AbstractSolver, ProximalGradient, solve
from ._bilevel import Bilevel
from ._hypergradient import Hypergradient, hypergradient


def value_and_hypergradient(
    problem: Bilevel,
    hyper: Params,
    params: Params,
    *,
    solver: AbstractSolver | None = None,
    polish: bool = False,
    **settings: Any,
) -> tuple[Solution, Hypergradient]:
    """Solve the inner problem from `params`, then differentiate the outer objective at its solution.

    For a value and a gradient alone, `jax.value_and_grad` through `solve` does the same; this also says how good they
    are, takes the last adjoint as a start, and bounds the error.

    Args:
        problem: the two levels.
        hyper: outer variable.
        params: start of the inner solver, such as the last inner solution.
        solver: solver of the inner problem; `ProximalGradient()` by default.
        polish: refine the inner solution by a Newton step on its support.
        settings: those of `hypergradient`: adjoint, linear_solver, rtol, atol, max_steps, bound.

    Returns:
        The inner `Solution`, whose `result` says whether it converged, and the `Hypergradient` at it.

    Raises:
        TypeError, ValueError: as `solve` and `hypergradient` do.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + h * jnp.sum(w**2) / 2  # w* = 2 / (1 + h)
        >>> ridge = jt.bilevel.Bilevel(lambda w, h: jnp.sum(w), inner)
        >>> solution, found = jt.bilevel.value_and_hypergradient(ridge, 1.0, jnp.zeros(1))
        >>> print(solution.params.round(3), found.value.round(3), found.gradient.round(3))
        [1.] 1.0 -0.5
    """
    point = problem.check((hyper, params))
    solution = solve(
        problem.inner_problem(point.hyper),
        ProximalGradient() if solver is None else solver,
        point.params,
        adjoint=Implicit(polish=True) if polish else None,
    )
    return solution, hypergradient(problem, point.hyper, solution.params, **settings)
