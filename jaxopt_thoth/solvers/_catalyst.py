from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import IntScalar, Params, Scalar, State
from ..problems import Composite
from ._base import AbstractSolver
from ._settings import count_setting, tolerance_setting
from ._smoothing import (
    check_smoothed,
    outer_error,
    repeat,
    require_inner,
    smoothed,
    smoothing_and_convexity,
    smoothing_setting,
)


class CatalystState(eqx.Module):
    """State of `Catalyst`.

    Attributes:
        inner: state of the inner solver, made ready for the next center.
        center: the extrapolated point y that the next smoothed problem is near to.
        smoothing: strength kappa of the smoothing.
        convexity: strong convexity mu of the penalty.
        momentum: the alpha of the sequence that extrapolates.
        num_steps: steps so far.
        step_size: step size of the prox-gradient map, from the inner solver.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
    """

    inner: State
    center: Params
    smoothing: Scalar
    convexity: Scalar
    momentum: Scalar
    num_steps: IntScalar
    step_size: Scalar
    gradient_norm: Scalar
    error: Scalar


class Catalyst(AbstractSolver):
    """Catalyst acceleration of another solver by extrapolated proximal points, for convex problems.

    A step is `inner_steps` of the inner solver (for incremental solvers: epochs) on the problem with
    `smoothing / 2 |w - y|^2` added to its penalty, from y, which is then extrapolated by Nesterov's sequence. The inner
    problems are better conditioned: for `L / mu` above the number of rows n an incremental method then needs about
    `sqrt(n L / mu)` in place of `L / mu` gradients of rows. A smoothing that is not positive leaves the plain inner
    solver.

    The error is `|w - T(w)| / s` with T the prox-gradient map of step s, relative to `max(1, g)`, g the least norm of
    the gradient of f so far.

    Args:
        inner: the solver to accelerate, for example `ProximalGradient(accelerated=False)`.
        smoothing: strength kappa; by default `Lmax / n - mu` for incremental solvers, with Lmax the greatest curvature
            of a row's loss and mu the strong convexity of the penalty, and `Lmax / 100` for the others.
        restart_every: steps after which the extrapolation starts anew where mu is zero.
        inner_steps: steps of the inner solver a step.
        tol: tolerance on the error; that of the inner solver by default.
        max_steps: bound on the number of steps; that of the inner solver by default.

    Raises:
        TypeError: if `inner` is no solver of composite problems.
        ValueError: if a setting is out of range, or the penalty is not convex.

    H. Lin, J. Mairal and Z. Harchaoui, "Catalyst acceleration for first-order convex optimization: from theory to
    practice", 2018.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.diag(jnp.array([1.0, 9.0, 99.0])), -jnp.ones(3)))
        >>> plain = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-5)
        >>> fast = jt.solve(problem, jt.Catalyst(plain, smoothing=50.0), jnp.ones(3))
        >>> slow = jt.solve(problem, plain, jnp.ones(3))
        >>> print(fast.params.round(2), int(fast.num_steps) < int(slow.num_steps))
        [1.   0.11 0.01] True
    """

    inner: AbstractSolver
    smoothing: Scalar | None
    tol: Scalar | None
    restart_every: int = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        inner: AbstractSolver,
        *,
        smoothing: ArrayLike | None = None,
        restart_every: int = 50,
        inner_steps: int = 1,
        tol: ArrayLike | None = None,
        max_steps: int | None = None,
    ):
        require_inner(inner)
        self.inner = inner
        self.smoothing = smoothing_setting(smoothing)
        self.restart_every = count_setting(restart_every, "restart_every", 1)
        self.inner_steps = count_setting(inner_steps, "inner_steps", 1)
        self.tol = inner.tol if tol is None else tolerance_setting(tol)
        self.max_steps = inner.max_steps if max_steps is None else count_setting(max_steps, "max_steps")

    def check(self, problem: Composite, params: Params) -> None:
        check_smoothed(self, problem, params)

    def init(self, problem: Composite, params: Params) -> CatalystState:
        dtype = _tree.dtype_of(params)
        smoothing, convexity = smoothing_and_convexity(self.inner, self.smoothing, problem, params)
        return CatalystState(
            inner=self.inner.init(smoothed(problem, smoothing, params), params),
            center=params,
            smoothing=smoothing,
            convexity=convexity,
            momentum=jnp.ones((), dtype),
            num_steps=jnp.asarray(0, jnp.int32),
            step_size=jnp.ones((), dtype),
            gradient_norm=jnp.asarray(jnp.inf, dtype),
            error=jnp.asarray(jnp.inf, dtype),
        )

    def step(self, problem: Composite, params: Params, state: CatalystState) -> tuple[Params, CatalystState]:
        near = smoothed(problem, state.smoothing, state.center)
        new, inner = repeat(self.inner, self.inner_steps, near, state.center, state.inner)

        num_steps = state.num_steps + 1
        restart = (state.convexity <= 0) & (num_steps % self.restart_every == 0)
        curvature = state.convexity + state.smoothing
        # Without smoothing the ratio is one, which leaves nothing to extrapolate.
        smooths = state.smoothing > 0
        ratio = jnp.where(smooths, state.convexity / jnp.where(smooths, curvature, 1), 1)
        squared = state.momentum**2
        momentum = (ratio - squared + jnp.sqrt((squared - ratio) ** 2 + 4 * squared)) / 2
        factor = state.momentum * (1 - state.momentum) / (squared + momentum)
        momentum = jnp.where(restart, 1, momentum)
        factor = jnp.where(restart | ~smooths, 0, factor)

        center = _tree.add_scaled(new, factor, _tree.sub(new, params))
        ahead = smoothed(problem, state.smoothing, center)
        moved = self.inner.relocated(ahead, center, inner)
        gradient = problem.smooth.gradient(new)
        error, gradient_norm = outer_error(self.inner, near, inner, problem, new, gradient, state.gradient_norm)
        return new, CatalystState(
            inner=_tree.where(smooths, moved, inner),
            center=center,
            smoothing=state.smoothing,
            convexity=state.convexity,
            momentum=momentum,
            num_steps=num_steps,
            step_size=self.inner.fixed_point_step(near, new, inner).astype(error.dtype),
            gradient_norm=gradient_norm,
            error=error,
        )

    def error(self, problem: Composite, params: Params, state: CatalystState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: CatalystState) -> Scalar:
        return state.step_size

    def for_unrolling(self) -> Self:
        return eqx.tree_at(lambda s: s.inner, self, self.inner.for_unrolling())
