from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from .._validate import concrete, require_nonnegative
from ..solvers import AbstractSolver, WorkingSetDescent
from ._family import grid_of, PenaltyOf
from ._fit import _first, require_suited
from ._problem import Problem
from ._solvers import resolve
from ._walk import quadratic_of, Route, route_of, Steps, walk_gram, walk_sets, walk_steps, with_derivatives


class Path(eqx.Module):
    """The outcome of `path`: every field has the leading axis of the strengths.

    Attributes:
        strengths: (s,), those of the problems.
        coef: w, (s, p) or (s, p, k), with derivatives in the problem and the strengths.
        intercept: b, (s,) or (s, k).
        primal: the objectives at them.
        dual: lower bounds of the minima; minus infinity where the penalty gives none.
        gap: `primal - dual`.
        num_steps: steps taken; on the Gram matrix, epochs of coordinate descent.
        result: members of `RESULTS`.
    """

    strengths: Float[Array, " s"]
    coef: Float[Array, "s p *k"]
    intercept: Float[Array, "s *k"]
    primal: Float[Array, " s"]
    dual: Float[Array, " s"]
    gap: Float[Array, " s"]
    num_steps: Int[Array, " s"]
    result: RESULTS


def path(
    problem: Problem,
    strengths: Float[ArrayLike, " s"] | None = None,
    solver: str | AbstractSolver = "auto",
    *,
    num: int = 100,
    ratio: float | None = None,
    penalty_of: PenaltyOf | None = None,
    start: Any = None,
    tol: ArrayLike = 1e-4,
    max_steps: int | None = None,
    gap_every: int | None = None,
    key: PRNGKeyArray | None = None,
) -> Path:
    """Fit a model for each strength in turn, each fit the start of the next, in one compiled call.

    The penalties are the strengths times that of the problem, or `penalty_of(strength)`. Unless they are given, the
    strengths fall geometrically from the least at which all coefficients are zero. Each fit ends at a relative duality
    gap of `tol` (where there is none, as in `fit`).

    With `solver="auto"` the shape decides. A squared loss with at least as many rows as columns (4096 of them at most)
    and a penalty that is a sum over rows of the coefficients goes by "gram": the data enter once, through their second
    moments, centered where there is an intercept, and coordinate descent on the Gram matrix also has the gap from it.
    Other smooth losses under `L1`, `ElasticNet` or a `GroupLasso` over rows go by "cd": working sets, whose columns and
    Gram matrix stay from one strength to the next. All else is `fit` with `solver="auto"`.

    Args:
        problem: the data, the loss, and the penalty at strength one.
        strengths: (s,), nonnegative, best from large to small.
        solver: "auto", "gram", or what `fit` takes.
        num: how many strengths, where they are not given.
        ratio: the last of them over the first; None is 1e-2 for fewer rows than columns, else 1e-3.
        penalty_of: the penalty of a strength, for families that are no multiples of one penalty.
        start, max_steps, gap_every, key: as in `fit`; `max_steps` is for each strength.
        tol: bound on each gap relative to the objective.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a setting is out of range, or no strength empties the model and none are given.

    Friedman, Hastie and Tibshirani, "Regularization paths for generalized linear models via coordinate descent", 2010.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(1.0), jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> fits = erm.path(problem, num=3, ratio=0.25)
        >>> print(fits.strengths, fits.coef[:, 0].round(2))
        [1.5   0.75  0.375] [0.   1.5  2.25]
    """
    check_problem(problem, penalty_of)
    require_nonnegative(tol, "tol")
    strengths = check_strengths(problem, strengths, num, ratio, penalty_of)
    tol = _tree.setting(tol)
    plan = plan_of(problem, solver, penalty_of, max_steps, gap_every, key, tol)
    return _path(problem, strengths, plan, _first(problem, start), penalty_of, tol)


class Plan(eqx.Module):
    """How a path is walked: the route, its solver, how many steps a strength may take, and those between checks."""

    solver: AbstractSolver | None
    route: Route = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    every: int = eqx.field(static=True)


def plan_of(
    problem: Problem,
    solver: str | AbstractSolver,
    penalty_of: PenaltyOf | None,
    max_steps: int | None,
    gap_every: int | None,
    key: PRNGKeyArray | None,
    tol: Scalar,
) -> Plan:
    route = route_of(problem, penalty_of, solver)
    if route == "gram":
        return Plan(None, route, 5000 if max_steps is None else max_steps, 1)
    if route == "cd" and isinstance(solver, str):
        return Plan(WorkingSetDescent(), route, 200 if max_steps is None else max_steps, 1)
    method, steps, every = resolve(solver, problem.composite, max_steps, gap_every, key, tol)
    require_suited(problem, method)
    return Plan(method, route, steps, every)


def check_problem(problem: Problem, penalty_of: PenaltyOf | None) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an erm.Problem, got {type(problem).__name__}; build it first.")
    if penalty_of is not None and not callable(penalty_of):
        raise TypeError(f"penalty_of must map a strength to a penalty, got {type(penalty_of).__name__}.")


def check_strengths(
    problem: Problem,
    strengths: Float[ArrayLike, " s"] | None,
    num: int,
    ratio: float | None,
    penalty_of: PenaltyOf | None,
) -> Float[Array, " s"]:
    """The strengths, those of the default grid where there are none."""
    if strengths is None:
        strengths = grid_of(problem, num, ratio, penalty_of)
        if (known := concrete(strengths)) is not None and not np.all(np.isfinite(known)):
            raise ValueError("strengths must be given: no strength of this penalty sets all coefficients to zero.")
    found = jnp.asarray(strengths)
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"strengths must be a nonempty vector, got shape {found.shape}.")
    require_nonnegative(found, "strengths")
    return found.astype(problem.design.dtype)


@eqx.filter_jit
def _path(
    problem: Problem,
    strengths: Float[Array, " s"],
    plan: Plan,
    start: Float[Array, "q *k"],
    penalty_of: PenaltyOf | None,
    tol: Scalar,
) -> Path:
    frozen, plan, start, tol = _tree.stop_gradient((problem, plan, start, tol))
    grid = _tree.stop_gradient(strengths)
    tol = tol.astype(start.dtype)
    if plan.route == "gram":
        steps = walk_gram(frozen, *quadratic_of(frozen), grid, frozen.split(start)[0], penalty_of, tol, plan.max_steps)
    else:
        steps = walk(frozen, plan, grid, start, penalty_of, tol)
    return as_path(strengths, with_derivatives(problem, strengths, steps, penalty_of, tol))


def walk(
    problem: Problem, plan: Plan, strengths: Array, start: Array, penalty_of: PenaltyOf | None, tol: Scalar
) -> Steps:
    """Along strengths over the data."""
    if plan.route == "cd" and isinstance(plan.solver, WorkingSetDescent):
        return walk_sets(problem, plan.solver, strengths, start, penalty_of, tol, plan.max_steps)
    assert plan.solver is not None
    return walk_steps(problem, plan.solver, strengths, start, penalty_of, tol, plan.max_steps, plan.every)


def as_path(strengths: Array, steps: Steps) -> Path:
    result = jax.vmap(lambda met: RESULTS.where(met, RESULTS.converged, RESULTS.max_steps_reached))(steps.converged)
    gap = jnp.maximum(steps.primal - steps.dual, 0)
    return Path(strengths, steps.coef, steps.intercept, steps.primal, steps.dual, gap, steps.num_steps, result)
