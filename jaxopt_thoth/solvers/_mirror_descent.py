from collections.abc import Callable
from typing import Any, ClassVar, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import concrete
from ..mirror import AbstractMirrorMap
from ..penalties import Zero
from ..problems import Composite
from ._base import AbstractSolver
from ._bregman_step import (
    BregmanPoint,
    check_geometry,
    inverse_relative_curvature,
    move,
    residual_norm,
    search,
)
from ._inverse_curvature import inverse_curvature_along
from ._settings import check_settings
from ._step_rule import AbstractStepRule, as_rule, StepInfo


class MirrorDescentState(eqx.Module):
    """State of `MirrorDescent`.

    Attributes:
        dual: dual variable of the current iterate, exact where the iterate itself rounds to the boundary.
        image: image of the current iterate under the linear map of the smooth term.
        value: smooth term at the current iterate.
        gradient: its gradient there.
        average: iterates averaged with the step sizes that led from them, for which the nonsmooth bounds hold.
        step_size: last step size.
        total: sum of the step sizes.
        count: number of steps taken.
        accumulated: sum of the squared dual norms of the gradients.
        gradient_norm: least Euclidean norm of the gradient so far, to which the error is relative.
        residual_step: step size of the Euclidean residual that is the error.
        failed: whether the search found no step.
    """

    dual: Params
    image: Any
    value: Scalar
    gradient: Params
    average: Params
    step_size: Scalar
    total: Scalar
    count: IntScalar
    accumulated: Scalar
    gradient_norm: Scalar
    residual_step: Scalar
    failed: BoolScalar


class MirrorDescent(AbstractSolver):
    """Mirror descent for `Composite` problems: proximal gradient steps in the geometry of a mirror map.

    The penalty is the indicator of the map's own domain (`Simplex()` for `NegativeEntropy()`), another penalty whose
    Bregman prox the map knows, or `Zero()` where the map keeps no equation and the solution is inside of its domain.
    With the line search, or with a step size 1 / L for an f that is L-smooth relative to the map, this is the Bregman
    proximal gradient method (NoLips): values never rise, and `f(x_t) - f* <= L divergence(x*, x_0) / t`.
    Search tests the divergence of f against that of the map over the step size; no Lipschitz gradient is asked for.

    The error is Euclidean whatever the map, so that small steps near the boundary are not mistaken for convergence:
    `|x - prox(x - s gradient)| / s` with s the inverse curvature of f along its gradient at the start, relative to
    `max(1, g)`, g the least norm of the gradient so far. Derivatives use the Euclidean prox too.

    Beck and Teboulle, "Mirror descent and nonlinear projected subgradient methods", 2003; Bauschke, Bolte and Teboulle,
    "A descent lemma beyond Lipschitz gradient continuity", 2017; Lu, Freund and Nesterov, "Relatively smooth convex
    optimization by first-order methods", 2018.

    Args:
        mirror_map: the geometry, for example `mirror.NegativeEntropy()`.
        step_size: None searches for it; or a number, a schedule (a function of the number of steps taken, such as those
            of optax), or one of `DecayingStep`, `PolyakStep` and `AdaGradNormStep`.
        shrink: factor on a step size that failed the search; the measured curvature may shrink it further.
        growth: factor on the step size before each search.
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
        >>> solver = jt.MirrorDescent(jt.mirror.NegativeEntropy())
        >>> print(jt.solve(jt.Composite(term, jt.penalties.Simplex()), solver, jnp.full(3, 1 / 3)).params.round(3))
        [0.5 0.5 0. ]
    """

    error_shows_nan: ClassVar[bool] = True
    mirror_map: AbstractMirrorMap
    rule: AbstractStepRule | None
    shrink: Scalar
    growth: Scalar
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)
    unrolled: bool = eqx.field(static=True)

    def __init__(
        self,
        mirror_map: AbstractMirrorMap,
        step_size: ArrayLike | Callable[[Array], ArrayLike] | AbstractStepRule | None = None,
        *,
        shrink: ArrayLike = 0.5,
        growth: ArrayLike = 1.2,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
        unrolled: bool = False,
    ):
        require_mirror_map(mirror_map)
        check_settings(shrink, growth, tol, max_steps)
        self.mirror_map = mirror_map
        self.rule = None if step_size is None else as_rule(step_size)
        self.shrink = _tree.setting(shrink)
        self.growth = _tree.setting(growth)
        self.tol = None if tol is None else _tree.setting(tol)
        self.max_steps = max_steps
        self.unrolled = unrolled

    def check(self, problem: Composite, params: Params) -> None:
        check_geometry(problem, self.mirror_map, params)
        check_rule(self.rule, problem, self.mirror_map, params)

    def init(self, problem: Composite, params: Params) -> MirrorDescentState:
        self.check(problem, params)
        dtype = _tree.dtype_of(params)
        dual = self.mirror_map.center_dual(self.mirror_map.to_dual(params))
        image = problem.smooth.image(params)
        value, gradient = problem.smooth.value_and_grad_at(params, image)
        step_size = jnp.ones((), dtype)
        if self.rule is None:
            step_size = inverse_relative_curvature(problem, self.mirror_map, params, dual, gradient).astype(dtype)
        return MirrorDescentState(
            dual=dual,
            image=image,
            value=value.astype(dtype),
            gradient=gradient,
            average=_tree.zeros_like(params),
            step_size=step_size,
            total=jnp.zeros((), dtype),
            count=jnp.zeros((), jnp.int32),
            accumulated=jnp.zeros((), dtype),
            gradient_norm=_tree.norm(gradient),
            residual_step=inverse_curvature_along(problem, params, gradient).astype(dtype),
            failed=jnp.asarray(False),
        )

    def step(self, problem: Composite, params: Params, state: MirrorDescentState) -> tuple[Params, MirrorDescentState]:
        point = BregmanPoint(params, state.dual, state.image, state.value, state.gradient)
        dtype = state.value.dtype
        squared = jnp.zeros((), dtype)
        if self.rule is not None and self.rule.needs_norm:
            squared = self.mirror_map.dual_norm(state.gradient).astype(dtype) ** 2
        accumulated = state.accumulated + squared
        failed = jnp.asarray(False)
        if self.rule is None:
            first = state.step_size * self.growth.astype(dtype)
            trial = search(problem, self.mirror_map, point, first, self.shrink, unrolled=self.unrolled)
            # Where rounding drowns the test, a step size may not grow on the strength of it.
            tested = trial.bound > trial.noise
            step_size = jnp.where(tested, trial.step_size, jnp.minimum(trial.step_size, state.step_size))
            new, dual, image, length, failed = trial.params, trial.dual, trial.image, trial.step_size, trial.exhausted
        else:
            modulus = self.mirror_map.modulus(params).astype(dtype)
            info = StepInfo(state.count, state.value, squared, accumulated, modulus)
            step_size = length = valid_step(self.rule(info).astype(dtype))
            new, dual = move(problem, self.mirror_map, state.dual, state.gradient, length)
            image = problem.smooth.image(new)
        value, gradient = problem.smooth.value_and_grad_at(new, image)
        (squared_gradient,) = _tree.inner_products((gradient, gradient))
        total = state.total + length
        share = length / jnp.where(total > 0, total, 1)
        new_state = MirrorDescentState(
            dual=dual,
            image=image,
            value=value.astype(dtype),
            gradient=gradient,
            average=_tree.add_scaled(state.average, share, _tree.sub(params, state.average)),
            step_size=step_size,
            total=total,
            count=state.count + 1,
            accumulated=accumulated,
            gradient_norm=jnp.minimum(state.gradient_norm, _tree.safe_sqrt(squared_gradient)),
            residual_step=state.residual_step,
            failed=failed,
        )
        return new, new_state

    def error(self, problem: Composite, params: Params, state: MirrorDescentState) -> Scalar:
        residual = residual_norm(problem, params, state.gradient, state.residual_step)
        # A search fails only outside of the domain of f, and its vanishing step must not pass for convergence.
        return jnp.where(state.failed, jnp.nan, residual / jnp.maximum(1, state.gradient_norm))

    def fixed_point_step(self, problem: Composite, params: Params, state: MirrorDescentState) -> Scalar:
        return inverse_curvature_along(problem, params, state.gradient)

    def for_unrolling(self) -> Self:
        return type(self)(
            self.mirror_map,
            self.rule,
            shrink=self.shrink,
            growth=self.growth,
            tol=self.tol,
            max_steps=self.max_steps,
            unrolled=True,
        )


def require_mirror_map(mirror_map: Any) -> None:
    """Raise `TypeError` unless `mirror_map` is one."""
    if not isinstance(mirror_map, AbstractMirrorMap):
        raise TypeError(
            f"mirror_map must be a mirror map, got {type(mirror_map).__name__}; pass for example "
            "mirror.NegativeEntropy()."
        )


def valid_step(step_size: Scalar) -> Scalar:
    """The step size, or NaN where a schedule or a traced setting made it negative, which would climb."""
    return jnp.where(step_size >= 0, step_size, jnp.nan)


def check_rule(
    rule: AbstractStepRule | None, problem: Composite, mirror_map: AbstractMirrorMap, params: Params
) -> None:
    """Raise `ValueError` where Polyak's rule does not know what it needs."""
    if rule is None or not rule.needs_value:
        return
    if not (problem.penalty.is_indicator or isinstance(problem.penalty, Zero)):
        raise ValueError(
            f"step_size={type(rule).__name__} needs an indicator or Zero() as the penalty, got "
            f"{type(problem.penalty).__name__}; search for the step with step_size=None."
        )
    modulus = concrete(mirror_map.modulus(params))
    if modulus is not None and modulus <= 0:
        raise ValueError(
            f"step_size={type(rule).__name__} needs a strongly convex mirror map, and {type(mirror_map).__name__} has "
            "no modulus; search for the step with step_size=None."
        )
