from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._types import IntScalar, Scalar
from ..problems import Composite
from ._base import AbstractSolver
from ._settings import count_setting, refuse_unrolling, tolerance_setting
from ._working_set_columns import no_columns, squared_column_norms, TILE
from ._working_set_dual import (
    better_of,
    dual_point,
    DualHistory,
    DualPoint,
    extrapolated,
    has_duality_gap,
    no_history,
    residual_of,
    screened_rows,
)
from ._working_set_rows import rows_of, violations
from ._working_set_solve import column_curvatures, losses_at, model_of, shares, solve_set, WorkingSet


# Designs of no more columns than this, and fewer than rows, are one working set.
_FEW_COLUMNS = 512
_MAX_WORKING_SET = 1024
# Columns of the first set.
_FIRST = 64


class WorkingSetDescentState(eqx.Module):
    """State of `WorkingSetDescent`.

    Attributes:
        image: scores at the current iterate.
        gradient: gradient of the smooth term there.
        value: objective there.
        violations: norm of the prox-gradient residual of each row, zero for screened ones.
        norms: norm of each column in the mean over the rows.
        screened: rows that are zero at every solution, by the gap-safe rule.
        best: best dual point so far; None where the error is a residual.
        history: last dual points, from which the next is extrapolated; None where the error is a residual.
        work: the columns of the working set and their Gram matrix.
        gradient_norm: least norm of the gradient so far, to which a residual is relative.
        error: relative duality gap, or relative residual.
    """

    image: Float[Array, "n *k"]
    gradient: Float[Array, "p *k"]
    value: Scalar
    violations: Float[Array, " p"]
    norms: Float[Array, " p"]
    screened: Bool[Array, " p"]
    best: DualPoint | None
    history: DualHistory | None
    work: WorkingSet
    gradient_norm: Scalar
    error: Scalar


class WorkingSetDescent(AbstractSolver):
    """Coordinate descent on a growing set of columns, for linear models under sparse penalties.

    The smooth term is a `LinearModel` of a smooth loss; the penalty is a sum over entries (`L1`, `ElasticNet`, `MCP`,
    `SCAD`, `NonNegative`, ...), or a `GroupLasso` each of whose groups is a row of parameters (p, k), also inside
    `Regularized` and `ExceptLast`. One step is one pass over the design: the columns that violate optimality most join
    the working set, which grows to twice the support; the problem is solved over the set; and one product with the
    transposed design finds the violations and the duality gap.

    Over the set, cyclic coordinate descent runs on the Gram matrix of its columns, to which a step only adds the rows
    of new columns, until the violations are a small fraction of those outside; every five epochs end with Anderson's
    extrapolation, taken where the objective falls by it (Bertrand and Massias, 2021). A loss that is not quadratic is
    met by prox-Newton steps with a line search, the Gram matrix under the second derivatives of the losses, computed
    anew once these have changed. A design of few columns and more rows is one set. Where the support exceeds
    `max_working_set`, steps descend over the columns that violate most.

    The error is the duality gap relative to the objective, at the best dual point so far: scaled residuals, and their
    extrapolation (Massias, Gramfort and Salmon, 2018). Columns that a sphere around a dual point shows to be zero at
    every solution are screened for good (Ndiaye, Fercoq, Gramfort and Salmon, 2017). For other penalties than `L1`,
    `L2Squared`, `ElasticNet` and `GroupLasso` (in wrappers too), and for losses without a conjugate, the error is the
    norm of the prox-gradient residual, coordinate by coordinate, relative to `max(1, g)`, g the least norm of the
    gradient of f so far. A strength of zero for some entry allows no dual point: pass `gap=False` there.

    Massias, Gramfort and Salmon, "Celer: a fast solver for the lasso with dual extrapolation", 2018; Bertrand and
    Massias, "Anderson acceleration of coordinate descent", 2021; Ndiaye, Fercoq, Gramfort and Salmon, "Gap safe
    screening rules for sparsity enforcing penalties", 2017.

    Args:
        max_working_set: most columns in the set; None takes all of up to 512 where there are more rows, else 1024.
        gap: whether the error is the duality gap; None where it falls to zero.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if the smooth term is no `LinearModel`.
        ValueError: if a setting is out of range, or the loss or the penalty has another form.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 0.5]))
        >>> lasso = jt.Composite(model, jt.penalties.L1(0.5))
        >>> print(jt.solve(lasso, jt.solvers.WorkingSetDescent(), jnp.zeros(2)).params.round(3))
        [2. 0.]
    """

    tol: Scalar | None
    max_working_set: int | None = eqx.field(static=True)
    gap: bool | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        max_working_set: int | None = None,
        gap: bool | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 200,
    ):
        self.tol = tolerance_setting(tol)
        self.max_working_set = None if max_working_set is None else count_setting(max_working_set, "max_working_set", 1)
        self.gap = gap
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Composite, params: Any) -> None:
        smooth = model_of(problem)
        rows_of(problem.penalty, jnp.zeros(1, int), params.shape)
        if self.gap and not has_duality_gap(problem):
            raise ValueError(
                f"gap=True needs a loss with a conjugate and one of L1, L2Squared, ElasticNet and GroupLasso, got "
                f"{type(smooth.loss).__name__} and {type(problem.penalty).__name__}; pass gap=None."
            )

    def init(self, problem: Composite, params: Float[Array, "p *k"]) -> WorkingSetDescentState:
        self.check(problem, params)
        smooth = model_of(problem)
        n, p = smooth.design.shape
        everything = self.max_working_set is None and p <= min(_FEW_COLUMNS, n)
        bound = min(p, self.max_working_set or _MAX_WORKING_SET)
        size = p if everything else -(-bound // TILE) * TILE
        infinite = jnp.asarray(jnp.inf, params.dtype)
        image = smooth.image(params)
        best = history = None
        if has_duality_gap(problem) if self.gap is None else self.gap:
            best = DualPoint(jnp.zeros_like(image), jnp.zeros_like(params), -infinite)
            history = no_history(image, params)
        state = WorkingSetDescentState(
            image=image,
            gradient=params,
            value=infinite,
            violations=jnp.zeros(p, params.dtype),
            norms=_tree.safe_sqrt(squared_column_norms(smooth.design, shares(smooth))),
            screened=jnp.zeros(p, bool),
            best=best,
            history=history,
            work=WorkingSet(
                slots=jnp.full(size, p, jnp.int32),
                size=jnp.zeros((), jnp.int32),
                columns=no_columns(smooth.design, size, everything),
                gram=jnp.zeros((size, size), params.dtype),
                row_curvatures=jnp.zeros(n, params.dtype),
            ),
            gradient_norm=infinite,
            error=infinite,
        )
        return _measured(problem, params, image, state)

    def step(
        self, problem: Composite, params: Float[Array, "p *k"], state: WorkingSetDescentState
    ) -> tuple[Float[Array, "p *k"], WorkingSetDescentState]:
        slots, size, first = _chosen(params, state)
        columns = state.work.columns.gathered(model_of(problem).design, slots, first, (size + TILE - 1) // TILE)
        work = WorkingSet(slots, size, columns, state.work.gram, state.work.row_curvatures)
        everything = slots.size == params.shape[0]
        tolerance = _set_tolerance(problem, params, state, self.tolerance(params), everything)
        worst = jnp.max(state.violations, initial=0)
        new, image, work = solve_set(problem, params, state.image, work, first, worst, tolerance)
        return new, _measured(problem, new, image, eqx.tree_at(lambda s: s.work, state, work))

    def error(self, problem: Composite, params: Any, state: WorkingSetDescentState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Any, state: WorkingSetDescentState) -> Scalar:
        return 1 / jnp.max(column_curvatures(model_of(problem), state.image, state.norms))

    def relocated(self, problem: Composite, params: Any, state: WorkingSetDescentState) -> WorkingSetDescentState:
        # The Gram matrix belongs to the data, whatever the penalty; what was certified does not.
        return eqx.tree_at(lambda s: s.work, self.init(problem, params), state.work)

    def repenalized(self, problem: Composite, params: Any, state: WorkingSetDescentState) -> WorkingSetDescentState:
        """The state at the same parameters under another penalty: what the data alone decide is kept."""
        best, history = state.best, state.history
        if best is not None and history is not None:
            best = eqx.tree_at(lambda b: b.value, best, jnp.full_like(best.value, -jnp.inf))
            history = eqx.tree_at(lambda h: h.count, history, jnp.zeros_like(history.count))
        none = lambda node: node is None
        blank = eqx.tree_at(lambda s: (s.best, s.history), state, (best, history), is_leaf=none)
        blank = eqx.tree_at(lambda s: s.screened, blank, jnp.zeros_like(state.screened))
        return _measured(problem, params, state.image, blank, state.gradient)

    def for_unrolling(self) -> "WorkingSetDescent":
        raise refuse_unrolling("WorkingSetDescent")


def _support(params: Float[Array, "p *k"]) -> Bool[Array, " p"]:
    return (params != 0).reshape(params.shape[0], -1).any(1)


def _chosen(params: Array, state: WorkingSetDescentState) -> tuple[Array, IntScalar, IntScalar]:
    """The slots of the next set, how many are in use, and the first tile whose columns are new."""
    p, m = params.shape[0], state.work.slots.size
    if m == p:
        done = state.work.size > 0
        return (
            jnp.arange(p, dtype=jnp.int32),
            jnp.full_like(state.work.size, p),
            jnp.where(done, p, 0).astype(jnp.int32),
        )
    places = jnp.arange(m, dtype=jnp.int32)
    support = _support(params)
    held = jnp.zeros(p, bool).at[state.work.slots].set(True, mode="drop")
    num_support = jnp.sum(support, dtype=jnp.int32)
    crowded = num_support + 1 > m

    def plan(held: Array, size: IntScalar) -> tuple[Array, IntScalar]:
        wanted = (support | (state.violations > 0)) & ~held
        room = jnp.maximum(jnp.maximum(_FIRST, 2 * num_support) - size, _FIRST // 2)
        count = jnp.maximum(room, jnp.sum(wanted & support, dtype=jnp.int32))
        return wanted, jnp.minimum(count, jnp.sum(wanted, dtype=jnp.int32))

    _, count = plan(held, state.work.size)
    full = state.work.size + count > m
    held = held & ~full
    size = jnp.where(full, 0, state.work.size)
    wanted, count = plan(held, size)
    count = jnp.minimum(count, m - size)
    urgency = jnp.where(support & ~crowded, jnp.inf, state.violations)
    # A CPU ranks float32 forty times faster than float64.
    ranks = jnp.where(wanted, urgency, -1).astype(jnp.float32)
    best = lax.top_k(ranks, min(m, p))[1].astype(jnp.int32)
    best = jnp.concatenate([best, jnp.full(m - best.size, p, jnp.int32)])
    entering = best[jnp.clip(places - size, 0, m - 1)]
    slots = jnp.where(places < size, state.work.slots, jnp.where(places < size + count, entering, p))
    return slots, size + count, jnp.where(count > 0, size, m) // TILE


def _set_tolerance(
    problem: Composite, params: Array, state: WorkingSetDescentState, tol: Scalar, everything: bool
) -> Scalar:
    """How far a row of the set may violate optimality: what the error asks, or a fraction of the worst so far."""
    steepest = jnp.max(jnp.abs(state.gradient), initial=0)
    worst = jnp.max(state.violations, initial=0)
    if state.best is None:
        enough = 0.3 * tol * jnp.maximum(1, state.gradient_norm) / params.shape[0] ** 0.5
    else:
        # By convexity a violation costs at most itself times the length of the parameters.
        length, penalty = jnp.sum(jnp.abs(params)), problem.penalty.value(params)
        slope = penalty / jnp.where(length > 0, length, 1)
        enough = 0.25 * tol * jnp.where((slope > 0) & jnp.isfinite(slope), slope, steepest)
    asked = enough if everything else jnp.maximum(enough, 0.01 * worst)
    rounding = 8 * float(jnp.finfo(params.dtype).eps) * steepest
    return jnp.maximum(jnp.minimum(asked, 0.1 * worst), rounding)


def _measured(
    problem: Composite, params: Array, image: Array, state: WorkingSetDescentState, gradient: Array | None = None
) -> WorkingSetDescentState:
    """The state at new parameters: violations, the best dual point, what it screens, and the error."""
    if gradient is None:
        loss_value, gradient = problem.smooth.value_and_grad_at(params, image)
    else:
        loss_value = losses_at(model_of(problem), image)
    value = loss_value + problem.penalty.value(params)
    rows = rows_of(problem.penalty, jnp.arange(params.shape[0]), params.shape)
    found = violations(rows, params, gradient, column_curvatures(model_of(problem), image, state.norms))
    norm = _tree.norm(gradient)
    gradient_norm = jnp.where(jnp.isfinite(norm), jnp.minimum(state.gradient_norm, norm), state.gradient_norm)
    best, history, screened = state.best, state.history, state.screened
    if best is None or history is None:
        error = _tree.norm(found) / jnp.maximum(1, norm * 0 + gradient_norm)
    else:
        dual, correlation = residual_of(problem, image, gradient)
        history = history.extended(dual, correlation)
        point = better_of(dual_point(problem, dual, correlation), extrapolated(problem, history))
        screened = screened | screened_rows(problem, point, value - point.value, state.norms)
        found = jnp.where(screened & ~_support(params), 0, found)
        best = better_of(best, point)
        # A gap below zero is rounding.
        gap = jnp.maximum(value - best.value, 0)
        error = gap / jnp.maximum(jnp.abs(value), float(jnp.finfo(value.dtype).tiny))
    kept = lambda s: (s.image, s.gradient, s.value, s.violations, s.screened, s.gradient_norm, s.error)
    state = eqx.tree_at(kept, state, (image, gradient, value, found, screened, gradient_norm, error))
    return eqx.tree_at(lambda s: (s.best, s.history), state, (best, history), is_leaf=lambda node: node is None)
