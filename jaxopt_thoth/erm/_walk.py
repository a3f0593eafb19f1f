"""From one strength to the next, each solution the start of the next: on the Gram matrix, or over the data."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .. import _tree
from .._loop import while_loop
from .._result import RESULTS
from .._types import IntScalar, Scalar
from ..implicit import attach, Implicit, StopGradient
from ..losses import Squared
from ..penalties import ElasticNet, GroupLasso, L1
from ..solvers import AbstractSolver, WorkingSetDescent
from ..solvers._working_set_dual import has_duality_gap
from ..solvers._working_set_rows import rows_of
from ._certificate import has_gap
from ._family import PenaltyOf, with_strength
from ._fit import _fit
from ._gram_descent import descend
from ._moments import Centered, moments, Shift
from ._problem import Problem


Route = Literal["gram", "cd", "steps"]

# Columns up to which the Gram matrix is formed, where there are more rows.
_MOST_COLUMNS = 4096


class Steps(NamedTuple):
    """One strength of a path: what `Path` has of it."""

    coef: Float[Array, "p *k"]
    intercept: Float[Array, " *k"]
    primal: Scalar
    dual: Scalar
    num_steps: IntScalar
    converged: Array


def route_of(problem: Problem, penalty_of: PenaltyOf | None, solver: str | AbstractSolver) -> Route:
    """How a path is walked: see `path`."""
    if isinstance(solver, AbstractSolver):
        return "cd" if isinstance(solver, WorkingSetDescent) else "steps"
    if solver not in ("auto", "gram", "cd"):
        return "steps"
    penalty = with_strength(problem, jnp.ones(()), penalty_of).penalty
    n, p = problem.design.shape
    by_rows = _by_rows(problem, penalty_of)
    quadratic = isinstance(problem.loss, Squared) and by_rows
    if solver == "gram" and not quadratic:
        raise ValueError(
            f"solver='gram' needs losses.Squared and a penalty that is a sum over rows, got "
            f"{type(problem.loss).__name__} and {type(penalty).__name__}; pass solver='auto'."
        )
    if solver == "gram" or (solver == "auto" and quadratic and p <= min(n, _MOST_COLUMNS)):
        return "gram"
    sparse = by_rows and has_duality_gap(problem.composite)
    return "cd" if solver == "cd" or (sparse and problem.loss.is_smooth and _selects(problem, penalty_of)) else "steps"


def _by_rows(problem: Problem, penalty_of: PenaltyOf | None) -> bool:
    penalty = with_strength(problem, jnp.ones(()), penalty_of).penalty
    try:
        jax.eval_shape(lambda g: rows_of(g, jnp.zeros(1, int), problem.coef_shape), penalty)
    except ValueError:
        return False
    return True


def _selects(problem: Problem, penalty_of: PenaltyOf | None) -> bool:
    """Whether the penalty can set coefficients to zero."""
    return isinstance(with_strength(problem, jnp.ones(()), penalty_of).penalty, L1 | ElasticNet | GroupLasso)


def walk_gram(
    problem: Problem,
    quadratic: Centered,
    shift: Shift,
    strengths: Float[Array, " s"],
    start: Float[Array, "p *k"],
    penalty_of: PenaltyOf | None,
    tol: Scalar,
    max_steps: int,
) -> Steps:
    """Along strengths from the moments alone."""
    bounded = has_gap(with_strength(problem, strengths[0], penalty_of).composite, problem.constant_model())

    def one(carry: tuple[Array, Array], strength: Scalar) -> tuple[tuple[Array, Array], Steps]:
        penalty = with_strength(problem, strength, penalty_of).penalty
        end = descend(quadratic, penalty, *carry, tol, max_steps, bounded)
        intercept = shift.intercept(quadratic, end.coef)
        return (end.coef, end.slope), Steps(end.coef, intercept, end.primal, end.dual, end.epochs, end.error <= tol)

    slope = jnp.matmul(quadratic.gram, start, precision=lax.Precision.HIGHEST) - quadratic.cross
    return lax.scan(one, (start, slope), strengths)[1]


def walk_sets(
    problem: Problem,
    solver: WorkingSetDescent,
    strengths: Float[Array, " s"],
    start: Float[Array, "q *k"],
    penalty_of: PenaltyOf | None,
    tol: Scalar,
    max_steps: int,
) -> Steps:
    """Along strengths by working sets, whose columns and Gram matrix go along."""
    solver = eqx.tree_at(lambda s: s.tol, solver, tol, is_leaf=lambda node: node is None)
    at = lambda strength: with_strength(problem, strength, penalty_of)
    state = solver.init(at(strengths[0]).composite, start)

    def one(carry, strength):
        params, state = carry
        here = at(strength)
        composite = here.composite
        state = solver.repenalized(composite, params, state)

        def advance(carry):
            return *solver.step(composite, *carry[:2]), carry[2] + 1

        continues = lambda carry: ~(carry[1].error <= tol) & (carry[2] < max_steps)
        params, state, count = while_loop(continues, advance, (params, state, jnp.zeros((), jnp.int32)))
        dual = jnp.full_like(state.value, -jnp.inf) if state.best is None else state.best.value
        coef, intercept = here.split(params)
        return (params, state), Steps(coef, intercept, state.value, dual, count, state.error <= tol)

    return lax.scan(one, (start, state), strengths)[1]


def walk_steps(
    problem: Problem,
    solver: AbstractSolver,
    strengths: Float[Array, " s"],
    start: Float[Array, "q *k"],
    penalty_of: PenaltyOf | None,
    tol: Scalar,
    max_steps: int,
    every: int,
) -> Steps:
    """Along strengths by any solver, as `fit` runs it."""

    def one(params, strength):
        here = with_strength(problem, strength, penalty_of)
        end = _fit(here, solver, params, tol, max_steps, every, False)
        converged = end.result == RESULTS.converged
        steps = Steps(end.coef, end.intercept, end.primal, end.dual, end.num_steps, converged)
        return here.join(end.coef, end.intercept), steps

    return lax.scan(one, start, strengths)[1]


def with_derivatives(
    problem: Problem, strengths: Float[Array, " s"], steps: Steps, penalty_of: PenaltyOf | None, tol: Scalar
) -> Steps:
    """The same coefficients, with the derivatives of solutions."""
    adjoint = Implicit() if problem.loss.is_smooth else StopGradient()

    def one(strength: Scalar, coef: Array, intercept: Array) -> tuple[Array, Array]:
        here = with_strength(problem, strength, penalty_of)
        params = here.join(coef, intercept)
        return here.split(attach(adjoint, here.composite, params, step_of(here, params), tol))

    coef, intercept = jax.vmap(one)(strengths, steps.coef, steps.intercept)
    return steps._replace(coef=coef, intercept=intercept)


def step_of(problem: Problem, params: Array) -> Scalar:
    """The length of a prox-gradient step, which derivatives need and values do not."""
    frozen = _tree.stop_gradient(problem).composite.smooth
    bound = frozen.lipschitz()
    if bound is None:
        slope = lambda scores: frozen.loss.derivative(scores, frozen.targets)
        image = frozen.image(params)
        curvature = jnp.max(jax.jvp(slope, (image,), (jnp.ones_like(image),))[1])
        bound = curvature * jnp.sum(frozen.row_weights * frozen.design.squared_row_norms())
    return 1 / jnp.where(bound > 0, bound, 1)


def quadratic_of(problem: Problem) -> tuple[Centered, Shift]:
    """The moments of all rows."""
    shift = Shift.of(problem)
    return moments(problem, problem.model.row_weights, shift, None).centered(problem.fit_intercept), shift
