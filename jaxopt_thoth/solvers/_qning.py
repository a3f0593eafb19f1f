from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar, State
from ..problems import Composite
from ._base import AbstractSolver
from ._secants import apply_inverse, blank_pairs, Pairs, push_pair
from ._settings import count_setting, refuse_unrolling, tolerance_setting
from ._smoothing import (
    check_smoothed,
    outer_error,
    repeat,
    require_inner,
    smoothed,
    smoothing_and_convexity,
    smoothing_setting,
)


# The last trial of a search is the plain proximal point.
_MAX_TRIALS = 4
_LEAST_LENGTH = 0.1
_GROWTH = 1.2
# A value that rose by more than this part of it throws away what the inner solver did.
_RISE = 0.05


class ProximalPoint(eqx.Module):
    """An inexact proximal point: the iterate and state of the inner solver, and the center they are of."""

    params: Params
    inner: State
    center: Params


class QNingState(eqx.Module):
    """State of `QNing`.

    Attributes:
        point: the proximal point that the iterate is, with its center y and the state of the inner solver.
        value: value of the envelope at y, as far as the inner solver has come.
        pairs: secant pairs of the envelope.
        length: length of the quasi-Newton part of the next first trial.
        smoothing: strength kappa of the smoothing.
        num_inner: runs of the inner solver so far, one a trial.
        step_size: step size of the prox-gradient map, from the inner solver.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
    """

    point: ProximalPoint
    value: Scalar
    pairs: Pairs
    length: Scalar
    smoothing: Scalar
    num_inner: IntScalar
    step_size: Scalar
    gradient_norm: Scalar
    error: Scalar


class _Trial(eqx.Module):
    point: ProximalPoint
    gradient: Params
    value: Scalar
    length: Scalar
    count: IntScalar


class QNing(AbstractSolver):
    """QNing: limited-memory BFGS on the Moreau envelope, whose proximal points another solver finds inexactly.

    With `x(y)` what `inner_steps` of the inner solver make of the problem with `smoothing / 2 |w - y|^2` added to its
    penalty, `smoothing * (y - x(y))` is about the gradient of the envelope at y, which is smooth whatever the penalty.
    A trial goes a length along the L-BFGS direction and the rest of the way to `x(y)`; where the envelope does not
    fall by `|gradient|^2 / (4 smoothing)` the length is halved, and the last trial is the proximal point itself, so
    that no step is worse than that of the proximal point method. The state of the inner solver goes along, and back
    where a trial was bad. Each run starts at its center: from elsewhere its error would vary from center to center,
    and the secant pairs with it. A smoothing that is not positive leaves the plain inner solver.

    The error is `|w - T(w)| / s` with T the prox-gradient map of step s, relative to `max(1, g)`, g the least norm of
    the gradient of f so far.

    Args:
        inner: the solver of the smoothed problems, for example `ProximalGradient(accelerated=False)`.
        memory: number of secant pairs that are kept.
        smoothing: strength kappa; by default `Lmax / n - mu` for incremental solvers, with Lmax the greatest curvature
            of a row's loss and mu the strong convexity of the penalty, and `Lmax / 100` for the others.
        inner_steps: steps of the inner solver (for incremental ones: epochs) a trial.
        tol: tolerance on the error; that of the inner solver by default.
        max_steps: bound on the number of steps; that of the inner solver by default.

    Raises:
        TypeError: if `inner` is no solver of composite problems.
        ValueError: if a setting is out of range, if the penalty is not convex, or when its steps are to be unrolled.

    H. Lin, J. Mairal and Z. Harchaoui, "An inexact variable metric proximal point algorithm for generic quasi-Newton
    acceleration", 2019.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.diag(jnp.array([1.0, 9.0, 99.0])), -jnp.ones(3)))
        >>> plain = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-5)
        >>> fast = jt.solve(problem, jt.QNing(plain, smoothing=50.0), jnp.ones(3))
        >>> slow = jt.solve(problem, plain, jnp.ones(3))
        >>> print(fast.params.round(2), 10 * int(fast.num_steps) < int(slow.num_steps))
        [1.   0.11 0.01] True
    """

    inner: AbstractSolver
    smoothing: Scalar | None
    tol: Scalar | None
    memory: int = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        inner: AbstractSolver,
        *,
        memory: int = 20,
        smoothing: ArrayLike | None = None,
        inner_steps: int = 1,
        tol: ArrayLike | None = None,
        max_steps: int | None = None,
    ):
        require_inner(inner)
        self.inner = inner
        self.smoothing = smoothing_setting(smoothing)
        self.memory = count_setting(memory, "memory", 1)
        self.inner_steps = count_setting(inner_steps, "inner_steps", 1)
        self.tol = inner.tol if tol is None else tolerance_setting(tol)
        self.max_steps = inner.max_steps if max_steps is None else count_setting(max_steps, "max_steps")

    def check(self, problem: Composite, params: Params) -> None:
        check_smoothed(self, problem, params)

    def init(self, problem: Composite, params: Params) -> QNingState:
        dtype = _tree.dtype_of(params)
        smoothing, _ = smoothing_and_convexity(self.inner, self.smoothing, problem, params)
        # No value and a gradient of zero: the first trial stays at the start, and whatever it finds will pass.
        return QNingState(
            point=ProximalPoint(params, self.inner.init(smoothed(problem, smoothing, params), params), params),
            value=jnp.asarray(jnp.inf, dtype),
            pairs=blank_pairs(params, self.memory),
            length=jnp.ones((), dtype),
            smoothing=smoothing,
            num_inner=jnp.asarray(0, jnp.int32),
            step_size=jnp.ones((), dtype),
            gradient_norm=jnp.asarray(jnp.inf, dtype),
            error=jnp.asarray(jnp.inf, dtype),
        )

    def step(self, problem: Composite, params: Params, state: QNingState) -> tuple[Params, QNingState]:
        kappa = state.smoothing
        smooths = kappa > 0
        center = state.point.center
        # The gradient of the envelope over kappa, which is the step to the proximal point.
        pull = _tree.sub(center, params)
        everywhere = jax.tree.map(lambda x: jnp.ones(x.shape, bool), params)
        newton = apply_inverse(state.pairs, _tree.scale(kappa, pull), everywhere, 1 / jnp.where(smooths, kappa, 1))
        size = jnp.abs(jnp.where(jnp.isfinite(state.value), state.value, 0))
        slack = 8 * jnp.finfo(kappa.dtype).eps * size
        goal = state.value - kappa / 4 * _tree.squared_norm(pull) + slack
        limit = state.value + _RISE * size

        def passes(trial: _Trial) -> BoolScalar:
            return (trial.value <= goal) | (trial.length <= 0)

        def attempt(trial: _Trial) -> _Trial:
            halved = trial.length / 2
            halved = jnp.where((halved < _LEAST_LENGTH) | (trial.count >= _MAX_TRIALS - 1), 0, halved)
            length = jnp.where(trial.count > 0, halved, trial.length)
            # What is not finite is thrown away too.
            kept = (trial.count > 0) & (trial.value <= limit)
            start = _tree.where(kept, trial.point, state.point)
            ahead = jax.tree.map(lambda y, d, p: y - length * d - (1 - length) * p, center, newton, pull)
            return self._attempt(problem, kappa, start, ahead, length, trial.count + 1)

        length = jnp.where(smooths, state.length, 0)
        blank = _Trial(state.point, pull, jnp.full_like(kappa, jnp.nan), length, jnp.asarray(0, jnp.int32))
        trial = while_loop(lambda t: (t.count == 0) | ~passes(t), attempt, blank)
        new, point = trial.point.params, trial.point
        move = _tree.sub(point.center, center)
        change = _tree.scale(kappa, _tree.sub(_tree.sub(point.center, new), pull))
        pairs, _, _ = push_pair(state.pairs, move, change, jnp.isfinite(state.value))
        pairs = _tree.where(trial.value <= limit, pairs, blank_pairs(params, self.memory))
        near = smoothed(problem, kappa, point.center)
        error, gradient_norm = outer_error(
            self.inner, near, point.inner, problem, new, trial.gradient, state.gradient_norm
        )
        return new, QNingState(
            point=point,
            value=trial.value,
            pairs=pairs,
            length=jnp.clip(_GROWTH * trial.length, _LEAST_LENGTH, 1),
            smoothing=kappa,
            num_inner=state.num_inner + trial.count,
            step_size=self.inner.fixed_point_step(near, new, point.inner).astype(error.dtype),
            gradient_norm=gradient_norm,
            error=error,
        )

    def _attempt(
        self, problem: Composite, kappa: Scalar, start: ProximalPoint, center: Params, length: Scalar, count: IntScalar
    ) -> _Trial:
        near = smoothed(problem, kappa, center)
        moved = self.inner.relocated(near, center, start.inner)
        begin, inner = _tree.where(kappa > 0, (center, moved), (start.params, start.inner))
        new, inner = repeat(self.inner, self.inner_steps, near, begin, inner)
        value, gradient = problem.smooth.value_and_grad(new)
        value = value + near.penalty.value(new)
        return _Trial(ProximalPoint(new, inner, center), gradient, value.astype(kappa.dtype), length, count)

    def error(self, problem: Composite, params: Params, state: QNingState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: QNingState) -> Scalar:
        return state.step_size

    def for_unrolling(self) -> Self:
        raise refuse_unrolling("QNing")
