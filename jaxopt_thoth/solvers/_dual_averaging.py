from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Params, Scalar
from ..mirror import AbstractMirrorMap
from ..problems import Composite
from ._base import AbstractSolver
from ._bregman_step import check_geometry, move, residual_norm
from ._inverse_curvature import inverse_curvature_along
from ._mirror_descent import require_mirror_map, valid_step
from ._settings import check_settings
from ._step_rule import AbstractStepRule, as_rule, StepInfo


class DualAveragingState(eqx.Module):
    """State of `DualAveraging`.

    Attributes:
        start: dual variable of the start.
        dual: dual variable of the current iterate.
        gradient_sum: sum of the gradients so far.
        image: image of the current iterate under the linear map of the smooth term.
        value: smooth term at the current iterate.
        gradient: its gradient there.
        average: mean of the iterates at which gradients were taken, for which the nonsmooth bounds hold.
        count: number of steps taken.
        accumulated: sum of the squared dual norms of the gradients.
        gradient_norm: least Euclidean norm of the gradient so far, to which the error is relative.
        residual_step: step size of the Euclidean residual that is the error.
    """

    start: Params
    dual: Params
    gradient_sum: Params
    image: Any
    value: Scalar
    gradient: Params
    average: Params
    count: IntScalar
    accumulated: Scalar
    gradient_norm: Scalar
    residual_step: Scalar


class DualAveraging(AbstractSolver):
    """Dual averaging for `Composite` problems: each step starts anew from the sum of all gradients.

    `x_t = argmin <gradients so far, x> + t g(x) + divergence(x, x_0) / eta_t`, the follow-the-regularized-leader rule.
    With a constant step size and a penalty that is the map's own domain the iterates are those of mirror descent; with
    `DecayingStep` the regularization grows with the horizon, and no horizon need be known. A penalty enters with
    its full weight t, so that sparse penalties give sparse iterates. The error is that of `MirrorDescent`.

    Nesterov, "Primal-dual subgradient methods for convex problems", 2009; Xiao, "Dual averaging methods for regularized
    stochastic learning and online optimization", 2010.

    Args:
        mirror_map: the geometry, for example `mirror.NegativeEntropy()`.
        step_size: a number, a schedule (a function of the number of steps taken), `DecayingStep` or `AdaGradNormStep`.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `mirror_map` is none.
        ValueError: if a setting is out of range, or the rule compares values; when solving, if the start is outside of
            the domain, or the penalty has no Bregman prox in this geometry.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.Quadratic(jnp.eye(3), jnp.array([-0.6, -0.6, 0.2]))
        >>> solver = jt.DualAveraging(jt.mirror.NegativeEntropy(), 1.0)
        >>> print(jt.solve(jt.Composite(term, jt.penalties.Simplex()), solver, jnp.full(3, 1 / 3)).params.round(3))
        [0.5 0.5 0. ]
    """

    mirror_map: AbstractMirrorMap
    rule: AbstractStepRule
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        mirror_map: AbstractMirrorMap,
        step_size: ArrayLike | Callable[[Array], ArrayLike] | AbstractStepRule,
        *,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        require_mirror_map(mirror_map)
        check_settings(0.5, 1.0, tol, max_steps)
        self.mirror_map = mirror_map
        self.rule = as_rule(step_size)
        if self.rule.needs_value:
            raise ValueError(
                f"step_size={type(self.rule).__name__} belongs to MirrorDescent; pass a number, DecayingStep or "
                "AdaGradNormStep."
            )
        self.tol = None if tol is None else _tree.setting(tol)
        self.max_steps = max_steps

    def check(self, problem: Composite, params: Params) -> None:
        check_geometry(problem, self.mirror_map, params)

    def init(self, problem: Composite, params: Params) -> DualAveragingState:
        self.check(problem, params)
        dtype = _tree.dtype_of(params)
        dual = self.mirror_map.center_dual(self.mirror_map.to_dual(params))
        image = problem.smooth.image(params)
        value, gradient = problem.smooth.value_and_grad_at(params, image)
        return DualAveragingState(
            start=dual,
            dual=dual,
            gradient_sum=_tree.zeros_like(gradient),
            image=image,
            value=value.astype(dtype),
            gradient=gradient,
            average=_tree.zeros_like(params),
            count=jnp.zeros((), jnp.int32),
            accumulated=jnp.zeros((), dtype),
            gradient_norm=_tree.norm(gradient),
            residual_step=inverse_curvature_along(problem, params, gradient).astype(dtype),
        )

    def step(self, problem: Composite, params: Params, state: DualAveragingState) -> tuple[Params, DualAveragingState]:
        dtype = state.value.dtype
        squared = self.mirror_map.dual_norm(state.gradient).astype(dtype) ** 2
        accumulated = state.accumulated + squared
        modulus = self.mirror_map.modulus(params).astype(dtype)
        info = StepInfo(state.count, state.value, squared, accumulated, modulus)
        step_size = valid_step(self.rule(info).astype(dtype))
        gradient_sum = _tree.add(state.gradient_sum, state.gradient)
        count = (state.count + 1).astype(dtype)
        mean = _tree.scale(1 / count, gradient_sum)
        new, dual = move(problem, self.mirror_map, state.start, mean, step_size * count)
        image = problem.smooth.image(new)
        value, gradient = problem.smooth.value_and_grad_at(new, image)
        new_state = DualAveragingState(
            start=state.start,
            dual=dual,
            gradient_sum=gradient_sum,
            image=image,
            value=value.astype(dtype),
            gradient=gradient,
            average=_tree.add_scaled(state.average, 1 / count, _tree.sub(params, state.average)),
            count=state.count + 1,
            accumulated=accumulated,
            gradient_norm=jnp.minimum(state.gradient_norm, _tree.norm(gradient)),
            residual_step=state.residual_step,
        )
        return new, new_state

    def error(self, problem: Composite, params: Params, state: DualAveragingState) -> Scalar:
        residual = residual_norm(problem, params, state.gradient, state.residual_step)
        return residual / jnp.maximum(1, state.gradient_norm)

    def fixed_point_step(self, problem: Composite, params: Params, state: DualAveragingState) -> Scalar:
        return inverse_curvature_along(problem, params, state.gradient)
