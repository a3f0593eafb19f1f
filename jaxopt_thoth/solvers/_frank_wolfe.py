from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import require_nonnegative
from ..problems import Composite
from ._base import AbstractSolver
from ._frank_wolfe_step import backtrack, curvature_along, Direction, is_quadratic, length, StepRule
from ._vertex_table import start_table, VertexTable


Variant = Literal["standard", "away", "pairwise", "lazy"]

_VARIANTS = ("standard", "away", "pairwise", "lazy")
_STEPS = ("short", "exact", "backtracking", "open_loop")


class FrankWolfeState(eqx.Module):
    """State of `FrankWolfe`.

    Attributes:
        start: where the first step begins: the starting point, or a vertex if that is outside of the set.
        image: image of the current iterate under the linear map of the smooth term.
        value: smooth term at the iterate.
        gradient: its gradient there.
        vertex: the vertex that the next step may move to.
        gap: Frank-Wolfe gap; with the lazy variant the least that an oracle call has shown.
        curvature: last curvature that a step size went by.
        count: number of steps.
        num_oracle_calls: number of linear minimizations.
        table: the atoms of the iterate and their weights, where the variant keeps them.
    """

    start: Params
    image: Any
    value: Scalar
    gradient: Params
    vertex: Params
    gap: Scalar
    curvature: Scalar
    count: IntScalar
    num_oracle_calls: IntScalar
    table: VertexTable | None


class FrankWolfe(AbstractSolver):
    """The Frank-Wolfe (conditional gradient) method: smooth minimization over a bounded set by linear minimizations.

    The penalty is the indicator of a set with a `linear_minimizer`. The error is the Frank-Wolfe gap
    `<grad f(w), w - s>`, s the linear minimizer: for convex f it bounds `f(w) - min f`, in the units of f, so that the
    tolerance is a certificate. A start outside of the set is replaced by the vertex that its gradient points to.

    "standard" moves towards the vertex; the gap falls like 1/k, whatever the shape of the set. On a polytope and under
    strong convexity (or for a quadratic) the others converge linearly: "away" also moves away from the worst
    atom of the iterate, "pairwise" moves weight from it to the vertex, and "lazy" takes away steps with an atom it
    knows in place of a new vertex as long as that promises half of the last proven gap, which then is the error; under
    `vmap` the oracle runs all the same. These three keep a table of atoms: a full one makes room by merging its two
    lightest atoms into their mean (`state.table.num_merged` counts it), which leaves the iterate, its gap and its
    convergence untouched, but no longer promises the linear rate.

    The step "backtracking" adapts an estimate of the curvature; "short" takes the Lipschitz constant; "exact" minimizes
    a quadratic along the direction; "open_loop" is `2 / (k + 2)`, without any constant, and not monotone.

    Frank and Wolfe, "An algorithm for quadratic programming", 1956; Jaggi, "Revisiting Frank-Wolfe", 2013;
    Lacoste-Julien and Jaggi, "On the global linear convergence of Frank-Wolfe optimization variants", 2015; Braun,
    Pokutta and Zink, "Lazifying conditional gradient algorithms", 2017; Pedregosa, Negiar, Askari and Jaggi, "Linearly
    convergent Frank-Wolfe with backtracking line-search", 2020.

    Args:
        variant: "standard", "away", "pairwise" or "lazy".
        step: "backtracking", "short", "exact" or "open_loop" (of the standard variant).
        max_vertices: number of atoms kept; by default four times that of parameters, and 256 at most.
        tol: tolerance on the gap; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range, the penalty is not the indicator of a convex set, or the smooth term
            lacks what the step needs: a known Lipschitz constant, or to be a `Quadratic` or a quadratic `LinearModel`.
        NotImplementedError: if the penalty has no linear minimizer.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(3), -jnp.array([0.8, 0.4, -1.0])), jt.penalties.Simplex())
        >>> print(jt.solve(problem, jt.FrankWolfe("pairwise"), jnp.zeros(3)).params.round(3))
        [0.7 0.3 0. ]
    """

    tol: Scalar | None
    variant: Variant = eqx.field(static=True)
    step_rule: StepRule = eqx.field(static=True)
    max_vertices: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        variant: Variant = "standard",
        step: StepRule = "backtracking",
        *,
        max_vertices: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        if variant not in _VARIANTS:
            raise ValueError(f"variant must be one of {_VARIANTS}, got {variant!r}.")
        if step not in _STEPS:
            raise ValueError(f"step must be one of {_STEPS}, got {step!r}.")
        if step == "open_loop" and variant != "standard":
            raise ValueError(f'step="open_loop" is for the standard variant, got {variant!r}; search with it instead.')
        if max_vertices is not None and max_vertices < 2:
            raise ValueError(f"max_vertices must be at least 2, got {max_vertices}.")
        if tol is not None:
            require_nonnegative(tol, "tol")
        if max_steps < 0:
            raise ValueError(f"max_steps must be nonnegative, got {max_steps}.")
        self.tol = None if tol is None else _tree.setting(tol)
        self.variant = variant
        self.step_rule = step
        self.max_vertices = max_vertices
        self.max_steps = max_steps

    def init(self, problem: Composite, params: Params) -> FrankWolfeState:
        self._require(problem)
        outside = problem.penalty.value(params) > 0
        towards = problem.penalty.linear_minimizer(problem.smooth.gradient(params))
        start = _tree.where(outside, towards, params)
        image = problem.smooth.image(start)
        value, gradient = problem.smooth.value_and_grad_at(start, image)
        vertex = problem.penalty.linear_minimizer(gradient)
        dtype = _tree.dtype_of(params)
        return FrankWolfeState(
            start=start,
            image=image,
            value=value,
            gradient=gradient,
            vertex=vertex,
            gap=_gap(gradient, start, vertex),
            curvature=self._first_curvature(problem, start, gradient).astype(dtype),
            count=jnp.zeros((), jnp.int32),
            num_oracle_calls=jnp.full((), 2, jnp.int32),
            table=None if self.variant == "standard" else start_table(start, self._num_slots(start)),
        )

    def step(self, problem: Composite, params: Params, state: FrankWolfeState) -> tuple[Params, FrankWolfeState]:
        params = _tree.where(state.count == 0, state.start, params)
        vertex, table = state.vertex, state.table
        ahead = _gap(state.gradient, params, vertex)
        if table is None:
            move, slope, most = _tree.sub(vertex, params), ahead, jnp.ones_like(ahead)
        elif self.variant == "pairwise":
            table, entered = table.admit(vertex, jnp.asarray(True))
            left, _ = _worst(table, state.gradient)
            worst = table.atom(left)
            move, slope, most = _tree.sub(vertex, worst), _gap(state.gradient, worst, vertex), table.weights[left]
        else:
            left, worst = _worst(table, state.gradient)
            behind = _gap(state.gradient, worst, params)
            forward = ahead >= behind
            table, entered = table.admit(vertex, forward)
            weight = table.weights[left]
            move = _tree.where(forward, _tree.sub(vertex, params), _tree.sub(params, worst))
            slope = jnp.where(forward, ahead, behind)
            most = jnp.where(forward, 1, jnp.where(weight < 1, weight / jnp.where(weight < 1, 1 - weight, 1), 0))

        image_move = problem.smooth.image(move)
        direction = Direction(params, state.image, state.value, state.gradient, move, image_move, slope, most)
        step_size, curvature = self._step_size(problem, direction, state)
        if table is None:
            new = _tree.add_scaled(params, step_size, move)
        else:
            whole = step_size >= most
            weights = table.weights
            if self.variant == "pairwise":
                weights = weights.at[left].set(jnp.where(whole, 0, weights[left] - step_size))
                weights = weights.at[entered].add(step_size)
            else:
                onward = ((1 - step_size) * weights).at[entered].add(step_size)
                back = (1 + step_size) * weights
                back = back.at[left].set(jnp.where(whole, 0, back[left] - step_size))
                weights = jnp.where(forward, onward, back)
            weights = jnp.maximum(weights, 0)
            table = VertexTable(table.atoms, weights / jnp.sum(weights), table.num_merged)
            # From its atoms, so that entries that none of them has are zero exactly.
            new = table.point()
        image = _tree.add_scaled(state.image, step_size, image_move)
        value, gradient = problem.smooth.value_and_grad_at(new, image)
        vertex, gap, asked = self._look(problem, new, gradient, table, state.gap)
        return new, FrankWolfeState(
            start=state.start,
            image=image,
            value=value,
            gradient=gradient,
            vertex=vertex,
            gap=gap,
            curvature=curvature,
            count=state.count + 1,
            num_oracle_calls=state.num_oracle_calls + asked.astype(jnp.int32),
            table=table,
        )

    def error(self, problem: Composite, params: Params, state: FrankWolfeState) -> Scalar:
        return state.gap

    def fixed_point_step(self, problem: Composite, params: Params, state: FrankWolfeState) -> Scalar:
        usable = (state.curvature > 0) & jnp.isfinite(state.curvature)
        return 1 / jnp.where(usable, state.curvature, 1)

    def _look(
        self, problem: Composite, params: Params, gradient: Params, table: VertexTable | None, proven: Scalar
    ) -> tuple[Params, Scalar, BoolScalar]:
        """The next vertex, the proven gap, and whether the oracle was asked."""
        if self.variant != "lazy" or table is None:
            vertex = problem.penalty.linear_minimizer(gradient)
            return vertex, _gap(gradient, params, vertex), jnp.asarray(True)
        scores = table.scores(gradient)
        known = table.atom(jnp.argmin(jnp.where(table.is_used, scores, jnp.inf)))
        asks = ~(_gap(gradient, params, known) >= proven / 2)
        vertex = lax.cond(asks, lambda: problem.penalty.linear_minimizer(gradient), lambda: known)
        gap = _gap(gradient, params, vertex)
        # The steps descend, so that a gap bounds what any later iterate is above the minimum.
        return vertex, jnp.where(asks, jnp.minimum(gap, proven), proven), asks

    def _step_size(self, problem: Composite, direction: Direction, state: FrankWolfeState) -> tuple[Scalar, Scalar]:
        if self.step_rule == "open_loop":
            count = state.count.astype(direction.slope.dtype)
            return 2 / (count + 2), state.curvature
        curvature = state.curvature
        if self.step_rule == "exact":
            along = curvature_along(problem, direction)
            return length(direction, along), jnp.maximum(curvature, along)
        if self.step_rule == "backtracking":
            # A little less each time, so that the estimate can follow the local curvature down.
            curvature = backtrack(problem, direction, 0.9 * curvature)
        return length(direction, curvature), curvature

    def _first_curvature(self, problem: Composite, params: Params, gradient: Params) -> Scalar:
        if self.step_rule == "short":
            lipschitz = problem.smooth.lipschitz()
            if lipschitz is None:
                name = type(problem.smooth).__name__
                raise ValueError(f'{name} has no known Lipschitz constant; use step="backtracking".')
            # The norm may be estimated from below.
            return 1.01 * lipschitz
        squares = _tree.squared_norm(gradient)
        guess = _tree.vdot(gradient, problem.smooth.hvp(params, gradient)) / jnp.where(squares > 0, squares, 1)
        return lax.stop_gradient(jnp.where((guess > 0) & jnp.isfinite(guess), guess, 1))

    def _num_slots(self, params: Params) -> int:
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return max(2, min(4 * size, 256)) if self.max_vertices is None else self.max_vertices

    def _require(self, problem: Composite) -> None:
        penalty = problem.penalty
        if not (penalty.is_indicator and penalty.is_convex):
            raise ValueError(
                f"FrankWolfe minimizes over a convex set, and {type(penalty).__name__} is not the indicator of one; "
                "take for example Simplex, L1Ball or Box, or ProximalGradient for a penalty."
            )
        if self.step_rule == "exact" and not is_quadratic(problem.smooth):
            raise ValueError(
                f'step="exact" needs a Quadratic or a LinearModel of a quadratic loss, got '
                f'{type(problem.smooth).__name__}; use step="backtracking".'
            )


def _gap(gradient: Params, params: Params, vertex: Params) -> Scalar:
    return _tree.vdot(gradient, _tree.sub(params, vertex))


def _worst(table: VertexTable, gradient: Params) -> tuple[IntScalar, Params]:
    """The atom that the gradient points to most."""
    place = jnp.argmax(jnp.where(table.is_used, table.scores(gradient), -jnp.inf))
    return place, table.atom(place)
