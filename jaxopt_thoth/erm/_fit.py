from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import _tree
from .._loop import run_loop
from .._result import RESULTS
from .._types import IntScalar, Params, Scalar, State
from .._validate import require_nonnegative
from ..implicit import attach, Implicit, StopGradient
from ..problems import Composite
from ..solvers import AbstractSolver
from ._certificate import Certificate, certificate, has_gap
from ._problem import Problem
from ._solvers import resolve


class Fit(eqx.Module):
    """The outcome of `fit`; under `vmap` every field gains the batch axis.

    Attributes:
        coef: w, (p,) or (p, k), with derivatives in the problem.
        intercept: b, () or (k,), zero unless it was asked for.
        primal: the objective at them, the least that was seen at a check.
        dual: the largest dual objective that was seen at a check, a lower bound of the minimum; minus infinity where
            the penalty gives no bound.
        gap: bound of the objective over its minimum, `primal - dual` with an allowance for rounding.
        num_steps: number of steps of the solver.
        result: a member of `RESULTS`; compare with `fit.result == RESULTS.converged`.
        history: a row `(step, primal, dual, relative gap)` for each check, the first before any step, padded with NaN;
            None unless it was asked for. Without a bound the last entry is the error of the solver.
        state: the state of the solver after the last step.
    """

    coef: Float[Array, "p *k"]
    intercept: Float[Array, " *k"]
    primal: Scalar
    dual: Scalar
    gap: Scalar
    num_steps: IntScalar
    result: RESULTS
    history: Float[Array, "checks 4"] | None
    state: State


class _Progress(eqx.Module):
    """What the checks have seen: the state of the solver, the best of both sides, and the record."""

    state: State
    best: Certificate
    params: Params
    history: Array | None
    num_checks: IntScalar


def fit(
    problem: Problem,
    solver: str | AbstractSolver = "auto",
    *,
    start: Any = None,
    tol: ArrayLike = 1e-3,
    max_steps: int | None = None,
    gap_every: int | None = None,
    history: bool = False,
    key: PRNGKeyArray | None = None,
) -> Fit:
    """Fit a linear model until the duality gap certifies it, and return the best coefficients seen.

    Every few steps the objective and a dual point are evaluated; the best objective and the best dual value of all
    checks make the gap, and the fit stops when it is at most `tol` times the objective, which then is within that of
    its minimum. It never stops because nothing moves. Where no dual point is at hand (no penalty, a cone, a penalty
    without conjugate) it stops when the error of the solver is at most `tol`, which certifies nothing.

    Derivatives of `coef`, `intercept` and `primal` in the leaves of the problem are those of the solution; for a loss
    with kinks there are none, and they come out as zero.

    Args:
        problem: the loss, penalty, data and weights, a `Problem`.
        solver: "auto", "ista", "fista", "svrg", "acc-svrg", "saga", "miso", "prox-newton", "cd" (working sets),
            "chambolle-pock"; "catalyst-" or "qning-" before "ista", "svrg", "saga" or "miso"; or a solver with its
            settings.
        start: where to begin: `(coef, intercept)`, or another `Fit`; by default zeros and the best constant.
        tol: bound on the gap relative to the objective.
        max_steps: bound on the steps, which are epochs for the stochastic solvers; None takes that of the solver.
        gap_every: steps between two checks, each of which costs two products with the design; None chooses.
        history: record the checks.
        key: random key, for the stochastic solvers by name.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a name is not known, a shape does not fit, or the loss does not suit the solver.

    Mairal, "Cyanure: an open-source toolbox for empirical risk minimization", 2019.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(0.5), jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> fitted = erm.fit(problem, tol=1e-5)
        >>> print(fitted.coef.round(2), bool(fitted.gap <= 1e-5 * fitted.primal))
        [2. 0.] True
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an erm.Problem, got {type(problem).__name__}; build it first.")
    require_nonnegative(tol, "tol")
    tol = _tree.setting(tol)
    arguments = (problem, solver, start, tol, max_steps, gap_every, history, key)
    return (_prepared_once if isinstance(solver, str) and solver in _PLAIN and start is None else _prepared)(*arguments)


# Their checks look at no number, so that a call by name costs no more than its arguments once it is compiled.
_PLAIN = ("auto", "fista", "ista", "cd")


def _prepared(
    problem: Problem,
    solver: str | AbstractSolver,
    start: Any,
    tol: Scalar,
    max_steps: int | None,
    gap_every: int | None,
    history: bool,
    key: PRNGKeyArray | None,
) -> Fit:
    """The fit after the checks of its arguments."""
    composite = problem.composite_at(1.0)
    method, steps, every = resolve(solver, composite, max_steps, gap_every, key, tol)
    if every < 1 or steps < 0:
        raise ValueError(f"gap_every must be at least 1 and max_steps at least 0, got {every} and {steps}.")
    require_suited(problem, method)
    params = None if start is None else composite.check(_first(problem, start))
    method.check(composite, jnp.zeros(_params_shape(problem), problem.design.dtype) if params is None else params)
    return _fit(problem, method, params, tol, steps, every, history)


_prepared_once = eqx.filter_jit(_prepared)


# Compiled here as well as by the caller: without it, each call outside of jit would trace and compile anew.
@eqx.filter_jit
def _fit(
    problem: Problem,
    solver: AbstractSolver,
    params: Array | None,
    tol: Scalar,
    max_steps: int,
    every: int,
    history: bool,
) -> Fit:
    params = problem.constant_model() if params is None else params
    frozen, solver, params, tol = _tree.stop_gradient((problem, solver, params, tol))
    composite = frozen.composite
    tol = tol.astype(params.dtype)
    num_checks = -(-max_steps // every)
    bounded = has_gap(composite, params)

    def look(params: Array, progress: _Progress) -> _Progress:
        seen = certificate(composite, solver, params, progress.state, bounded)
        better = seen.primal < progress.best.primal
        # Without a bound the last iterate is the one that the error speaks of.
        kept = _tree.where(better | (not bounded), params, progress.params)
        best = seen if not bounded else progress.best.updated(seen)
        record = progress.history
        if record is not None:
            step = jnp.minimum(progress.num_checks * every, max_steps).astype(params.dtype)
            record = record.at[progress.num_checks].set(jnp.stack([step, best.primal, best.dual, best.error]))
        return _Progress(progress.state, best, kept, record, progress.num_checks + 1)

    blank = jnp.full((num_checks + 1, 4), jnp.nan, params.dtype) if history else None
    zero = jnp.zeros((), jnp.int32)
    first = _Progress(solver.init(composite, params), Certificate.blank(params.dtype), params, blank, zero)

    def advance(params: Array, progress: _Progress) -> tuple[Array, _Progress]:
        # The first round looks at the start, so that the look is compiled once.
        left = max_steps - (progress.num_checks - 1) * every
        count = jnp.where(progress.num_checks == 0, 0, jnp.minimum(left, every))
        step = lambda _, carry: solver.step(composite, *carry)
        params, state = lax.fori_loop(0, count, step, (params, progress.state))
        return params, look(params, eqx.tree_at(lambda p: p.state, progress, state))

    def measure(new: Array, progress: _Progress, *_: Any) -> tuple[Scalar, Array]:
        return progress.best.error, progress.best.error <= tol

    run, _ = run_loop(advance, measure, params, first, max_steps=num_checks + 1, feasible=composite.is_feasible(params))
    progress = run.state
    best = progress.best
    met = (best.error <= tol) & (run.result != RESULTS.infeasible)
    result = RESULTS.where(met, RESULTS.converged, run.result)
    num_steps = jnp.clip((progress.num_checks - 1) * every, 0, max_steps)

    live = problem.composite
    if problem.loss.is_smooth:
        step = solver.fixed_point_step(composite, progress.params, progress.state)
        # A loose fit has no less use for the derivative of where it stopped.
        adjoint_tol = jnp.minimum(solver.tolerance(params), _tree.default_tolerance(params.dtype))
        solution = attach(Implicit(), live, progress.params, step, adjoint_tol)
    else:
        solution = attach(StopGradient(), live, progress.params, jnp.ones(()), jnp.ones(()))
    value = live.value(solution)
    coef, intercept = problem.split(solution)
    # The value of the check, with the derivative of the objective.
    primal = best.primal + (value - lax.stop_gradient(value))
    return Fit(coef, intercept, primal, best.dual, best.gap, num_steps, result, progress.history, progress.state)


def _params_shape(problem: Problem) -> tuple[int, ...]:
    rows, *outputs = problem.coef_shape
    return (rows + problem.fit_intercept, *outputs)


def require_suited(problem: Problem, method: AbstractSolver) -> None:
    """Raise `ValueError` where the loss has kinks and the solver takes gradients."""
    if not problem.loss.is_smooth and method.problem_kind is Composite:
        raise ValueError(
            f"{type(method).__name__} needs a loss without kinks, got {type(problem.loss).__name__}; "
            'pass solver="chambolle-pock".'
        )


def _first(problem: Problem, start: Any) -> Array:
    if start is None:
        return problem.constant_model()
    if isinstance(start, Fit):
        start = (start.coef, start.intercept)
    if not isinstance(start, tuple) or len(start) != 2:
        raise TypeError(f"start must be a pair (coef, intercept) or a Fit, got {type(start).__name__}; pass a pair.")
    coef, intercept = (jnp.asarray(part).astype(problem.design.dtype) for part in start)
    shape = problem.coef_shape
    if coef.shape != shape or intercept.shape not in (shape[1:], ()):
        raise ValueError(
            f"start must have a coef of shape {shape} and an intercept of shape {shape[1:]}, got {coef.shape} and "
            f"{intercept.shape}."
        )
    return problem.join(coef, jnp.broadcast_to(intercept, shape[1:]))
