from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..mirror import AbstractMirrorMap
from ..problems import Composite
from ._base import AbstractSolver
from ._bregman_step import (
    check_geometry,
    distance_between,
    inverse_relative_curvature,
    MAX_TRIALS,
    move,
    residual_norm,
)
from ._inverse_curvature import inverse_curvature_along
from ._mirror_descent import require_mirror_map
from ._settings import check_settings


class AcceleratedBregmanState(eqx.Module):
    """State of `AcceleratedBregmanProximalGradient`.

    Attributes:
        image: image of the current iterate x under the linear map of the smooth term.
        prox_dual: dual variable of the prox center z.
        prox_center: the prox center z.
        prox_image: its image.
        gradient: gradient of f at x.
        theta: weight of z in the last step.
        gain: last gain G that passed the test.
        mean_gain: geometric mean of the gains since the last restart, the first one counted `exponent` times.
        bound: certificate: `F(x) - F* <= bound * divergence(x*, x0)`, x0 the start or the point of the last restart.
        smoothness: the constant L that gains multiply.
        count: number of steps since the last restart.
        gradient_norm: least Euclidean norm of the gradient so far, to which the error is relative.
        residual_step: step size of the Euclidean residual that is the error.
        failed: whether the search found no step.
    """

    image: Any
    prox_dual: Params
    prox_center: Params
    prox_image: Any
    gradient: Params
    theta: Scalar
    gain: Scalar
    mean_gain: Scalar
    bound: Scalar
    smoothness: Scalar
    count: IntScalar
    gradient_norm: Scalar
    residual_step: Scalar
    failed: BoolScalar


class _Trial(eqx.Module):
    gain: Scalar
    theta: Scalar
    gradient: Params
    params: Params
    image: Any
    prox_dual: Params
    prox_center: Params
    prox_image: Any
    divergence: Scalar
    noise: Scalar
    allowed: Scalar
    count: IntScalar

    @property
    def accepted(self) -> BoolScalar:
        known = jnp.isfinite(self.divergence) & jnp.isfinite(self.allowed) & _tree.all_finite(self.params)
        return known & (self.divergence <= self.allowed + self.noise)


class AcceleratedBregmanProximalGradient(AbstractSolver):
    """Accelerated Bregman proximal gradient with gain adaptation (ABPG-g), for `Composite` problems.

    Each step takes a Bregman step from the prox center z with the gradient at `y = (1 - theta) x + theta z`, and
    averages it into x. How much a mirror map lets momentum gain is not known beforehand: the gain G is searched so that
    the divergence of f from y to the new x is at most `theta^exponent G L` times that of the map. What was gained is
    certified afterwards: `state.bound` satisfies `F(x) - F* <= bound * divergence(x*, x0)`, and falls as 1 / t^2 while
    the mean of the gains stays bounded. Values may rise; on strongly convex problems `restart` helps.

    The penalty must fit the mirror map, and the error is that of `MirrorDescent`. A trial costs a gradient.

    Hanzely, Richtarik and Xiao, "Accelerated Bregman proximal gradient methods for relatively smooth convex
    optimization", 2021, algorithm 3.

    Args:
        mirror_map: the geometry, for example `mirror.NegativeEntropy()`.
        smoothness: relative smoothness constant L; None takes the curvature of f along the first step, and the gain
            makes up for it.
        exponent: triangle scaling exponent, at least 1; 2 is that of every smooth map near a solution.
        gain: first trial of the gain.
        restart: start anew from x where momentum points uphill.
        shrink: factor on the gain before each step.
        growth: least factor on a gain that failed.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.
        unrolled: keep the search out of the derivative, so that reverse mode can pass through a step.

    Raises:
        TypeError: if `mirror_map` is none.
        ValueError: if a setting is out of range; when solving, if the start is outside of the domain, or the penalty
            has no Bregman prox in this geometry.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.Quadratic(jnp.eye(3), jnp.array([-0.6, -0.6, 0.2]))
        >>> solver = jt.AcceleratedBregmanProximalGradient(jt.mirror.NegativeEntropy())
        >>> print(jt.solve(jt.Composite(term, jt.penalties.Simplex()), solver, jnp.full(3, 1 / 3)).params.round(3))
        [0.5 0.5 0. ]
    """

    mirror_map: AbstractMirrorMap
    smoothness: Scalar | None
    exponent: Scalar
    gain: Scalar
    shrink: Scalar
    growth: Scalar
    tol: Scalar | None
    restart: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    unrolled: bool = eqx.field(static=True)

    def __init__(
        self,
        mirror_map: AbstractMirrorMap,
        smoothness: ArrayLike | None = None,
        *,
        exponent: ArrayLike = 2.0,
        gain: ArrayLike = 1.0,
        restart: bool = False,
        shrink: ArrayLike = 1 / 1.2,
        growth: ArrayLike = 1.2,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
        unrolled: bool = False,
    ):
        require_mirror_map(mirror_map)
        check_settings(shrink, growth, tol, max_steps)
        if smoothness is not None:
            require_positive(smoothness, "smoothness")
        require_positive(gain, "gain")
        require_nonnegative(jnp.asarray(exponent, jnp.result_type(float)) - 1, "exponent - 1")
        self.mirror_map = mirror_map
        self.smoothness = None if smoothness is None else _tree.setting(smoothness)
        self.exponent = _tree.setting(exponent)
        self.gain = _tree.setting(gain)
        self.shrink = _tree.setting(shrink)
        self.growth = _tree.setting(growth)
        self.tol = None if tol is None else _tree.setting(tol)
        self.restart = restart
        self.max_steps = max_steps
        self.unrolled = unrolled

    def check(self, problem: Composite, params: Params) -> None:
        check_geometry(problem, self.mirror_map, params)

    def init(self, problem: Composite, params: Params) -> AcceleratedBregmanState:
        self.check(problem, params)
        dtype = _tree.dtype_of(params)
        dual = self.mirror_map.center_dual(self.mirror_map.to_dual(params))
        image = problem.smooth.image(params)
        _, gradient = problem.smooth.value_and_grad_at(params, image)
        smoothness = self.smoothness
        if smoothness is None:
            smoothness = 1 / inverse_relative_curvature(problem, self.mirror_map, params, dual, gradient)
        return AcceleratedBregmanState(
            image=image,
            prox_dual=dual,
            prox_center=params,
            prox_image=image,
            gradient=gradient,
            theta=jnp.ones((), dtype),
            gain=self.gain.astype(dtype) / self.shrink.astype(dtype),
            mean_gain=jnp.ones((), dtype),
            bound=jnp.asarray(jnp.inf, dtype),
            smoothness=smoothness.astype(dtype),
            count=jnp.zeros((), jnp.int32),
            gradient_norm=_tree.norm(gradient),
            residual_step=inverse_curvature_along(problem, params, gradient).astype(dtype),
            failed=jnp.asarray(False),
        )

    def step(
        self, problem: Composite, params: Params, state: AcceleratedBregmanState
    ) -> tuple[Params, AcceleratedBregmanState]:
        dtype = state.gain.dtype
        exponent = self.exponent.astype(dtype)
        if self.unrolled:
            found = self._search(*_tree.stop_gradient((problem, params, state, exponent)))
            trial = self._attempt(problem, params, state, exponent, found.gain, found.count)
        else:
            trial = self._search(problem, params, state, exponent)
        # Where rounding drowns the test, a gain may not fall on the strength of it.
        gain = jnp.where(trial.allowed > trial.noise, trial.gain, jnp.maximum(trial.gain, state.gain))
        steps = state.count.astype(dtype)
        fresh = state.count == 0
        weight = jnp.where(fresh, 1, 1 / (steps + exponent))
        log_mean = (1 - weight) * jnp.log(state.mean_gain) + weight * jnp.log(trial.gain)
        anew = jnp.asarray(False)
        if self.restart:
            anew = _tree.vdot(trial.gradient, _tree.sub(trial.params, params)) > 0
        start_dual = self.mirror_map.center_dual(self.mirror_map.to_dual(trial.params)) if self.restart else None
        _, gradient = problem.smooth.value_and_grad_at(trial.params, trial.image)
        new_state = AcceleratedBregmanState(
            image=trial.image,
            prox_dual=_tree.where(anew, start_dual, trial.prox_dual) if self.restart else trial.prox_dual,
            prox_center=_tree.where(anew, trial.params, trial.prox_center),
            prox_image=_tree.where(anew, trial.image, trial.prox_image),
            gradient=gradient,
            theta=trial.theta,
            gain=gain,
            mean_gain=jnp.exp(log_mean),
            bound=trial.theta**exponent * trial.gain * state.smoothness,
            smoothness=state.smoothness,
            count=jnp.where(anew, 0, state.count + 1),
            gradient_norm=jnp.minimum(state.gradient_norm, _tree.norm(gradient)),
            residual_step=state.residual_step,
            failed=~trial.accepted & (trial.count >= MAX_TRIALS),
        )
        return trial.params, new_state

    def error(self, problem: Composite, params: Params, state: AcceleratedBregmanState) -> Scalar:
        residual = residual_norm(problem, params, state.gradient, state.residual_step)
        return jnp.where(state.failed, jnp.nan, residual / jnp.maximum(1, state.gradient_norm))

    def fixed_point_step(self, problem: Composite, params: Params, state: AcceleratedBregmanState) -> Scalar:
        return inverse_curvature_along(problem, params, state.gradient)

    def for_unrolling(self) -> Self:
        return type(self)(
            self.mirror_map,
            self.smoothness,
            exponent=self.exponent,
            gain=self.gain,
            restart=self.restart,
            shrink=self.shrink,
            growth=self.growth,
            tol=self.tol,
            max_steps=self.max_steps,
            unrolled=True,
        )

    def _search(self, problem: Composite, params: Params, state: AcceleratedBregmanState, exponent: Scalar) -> _Trial:
        growth = self.growth.astype(exponent.dtype)

        def enlarge(trial: _Trial) -> _Trial:
            gain = trial.gain * growth
            return self._attempt(problem, params, state, exponent, gain, trial.count + 1)

        def failed(trial: _Trial) -> BoolScalar:
            return ~trial.accepted & (trial.count < MAX_TRIALS)

        first = state.gain * self.shrink.astype(exponent.dtype)
        return while_loop(failed, enlarge, self._attempt(problem, params, state, exponent, first, 0))

    def _attempt(
        self,
        problem: Composite,
        params: Params,
        state: AcceleratedBregmanState,
        exponent: Scalar,
        gain: Scalar,
        count: Any,
    ) -> _Trial:
        ratio = jnp.where(state.count == 0, 0, gain / (state.gain * state.theta**exponent))
        theta = _next_theta(ratio, exponent)
        mix = lambda x, z: _tree.add_scaled(_tree.scale(1 - theta, x), theta, z)
        point, point_image = mix(params, state.prox_center), mix(state.image, state.prox_image)
        value, gradient = problem.smooth.value_and_grad_at(point, point_image)
        step_size = 1 / (theta ** (exponent - 1) * gain * state.smoothness)
        center, dual = move(problem, self.mirror_map, state.prox_dual, gradient, step_size)
        center_image = problem.smooth.image(center)
        new, image = mix(params, center), mix(state.image, center_image)
        divergence, noise = problem.smooth.divergence(new, image, point, point_image, value, gradient)
        distance = distance_between(self.mirror_map, center, dual, state.prox_center, state.prox_dual)
        allowed = theta * distance / step_size
        count = jnp.asarray(count, jnp.int32)
        return _Trial(gain, theta, gradient, new, image, dual, center, center_image, divergence, noise, allowed, count)


def _next_theta(ratio: Scalar, exponent: Scalar) -> Array:
    """Root of `(1 - theta) / theta^exponent = ratio` in (0, 1], by Newton from its right, where it is convex."""
    positive = ratio > 0
    safe = jnp.where(positive, ratio, 1)
    theta = jnp.where(positive, jnp.minimum(safe ** (-1 / exponent), 1), 1)
    for _ in range(8):
        slope = ratio * exponent * theta ** (exponent - 1) + 1
        theta = theta - (ratio * theta**exponent + theta - 1) / slope
    return theta
