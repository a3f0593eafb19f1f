from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import concrete
from ..mirror import NegativeEntropy
from ..penalties import L1Ball, Simplex
from ..problems import Composite
from ..smooth import AbstractSmooth
from ._base import AbstractSolver
from ._bregman_step import residual_norm
from ._inverse_curvature import inverse_curvature_along
from ._mirror_descent import MirrorDescent, MirrorDescentState
from ._step_rule import AbstractStepRule


class ExponentiatedGradientState(eqx.Module):
    """State of `ExponentiatedGradient`.

    Attributes:
        weights: the point of the unit simplex that is multiplied: `params / radius`, or its two signed parts in turn.
        descent: state of the mirror descent on the weights.
        residual_step: step size of the Euclidean residual that is the error.
    """

    weights: Array
    descent: MirrorDescentState
    residual_step: Scalar


class _Lifted(AbstractSmooth):
    """A smooth term of weights on the unit simplex: of `radius (u - v)`, or of `radius u`."""

    smooth: AbstractSmooth
    radius: Scalar
    signed: bool = eqx.field(static=True)

    def lower(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        radius = self.radius.astype(weights.dtype)
        if not self.signed:
            return radius * weights
        half = weights.shape[0] // 2
        return radius * (weights[:half] - weights[half:])

    def raised(self, gradient: Float[Array, " n"]) -> Float[Array, " m"]:
        scaled = self.radius.astype(gradient.dtype) * gradient
        return jnp.concatenate([scaled, -scaled]) if self.signed else scaled

    def value(self, params: Array) -> Scalar:
        return self.smooth.value(self.lower(params))

    def image(self, params: Array) -> Any:
        return self.smooth.image(self.lower(params))

    def value_and_grad_at(self, params: Array, image: Any) -> tuple[Scalar, Array]:
        value, gradient = self.smooth.value_and_grad_at(self.lower(params), image)
        return value, self.raised(gradient)

    def hvp(self, params: Array, vector: Array) -> Array:
        return self.raised(self.smooth.hvp(self.lower(params), self.lower(vector)))

    def divergence(self, new, new_image, old, old_image, old_value, old_gradient) -> tuple[Scalar, Scalar]:
        gradient = old_gradient[: old_gradient.shape[0] // 2] if self.signed else old_gradient
        inner = gradient / self.radius.astype(gradient.dtype)
        return self.smooth.divergence(self.lower(new), new_image, self.lower(old), old_image, old_value, inner)


class ExponentiatedGradient(AbstractSolver):
    """Exponentiated gradient on a simplex, or in its plus-minus version on an l1 ball: multiplicative updates.

    With the penalty `Simplex(radius)` it is `MirrorDescent(mirror.NegativeEntropy())` on `params / radius`. With
    `L1Ball(radius)` each entry is the difference of two weights, `radius (u - v)`, and (u, v) is in the unit simplex of
    twice the size: the number of steps depends on the logarithm of the dimension only. Params are one vector; a start
    on the l1 ball is inside of it, zero included. Step sizes are those of `MirrorDescent` on the weights.

    Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", 1997.

    Args:
        step_size: None searches for it; a number, a schedule, or a rule, as for `MirrorDescent`.
        tol: tolerance on the error, which is that of `MirrorDescent`; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.
        unrolled: keep the search out of the derivative, so that reverse mode can pass through a step.

    Raises:
        ValueError: if a setting is out of range; when solving, if the penalty is another, if params are no vector, or
            if the start is on the boundary.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.Quadratic(jnp.eye(3), jnp.array([-2.0, 1.0, 0.5]))
        >>> problem = jt.Composite(term, jt.penalties.L1Ball(2.0))
        >>> print(jt.solve(problem, jt.ExponentiatedGradient(), jnp.zeros(3)).params.round(3) + 0.0)
        [ 1.5 -0.5  0. ]
    """

    descent: MirrorDescent
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: ArrayLike | Callable[[Array], ArrayLike] | AbstractStepRule | None = None,
        *,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
        unrolled: bool = False,
    ):
        self.descent = MirrorDescent(NegativeEntropy(), step_size, tol=tol, max_steps=max_steps, unrolled=unrolled)
        self.tol = self.descent.tol
        self.max_steps = max_steps

    def check(self, problem: Composite, params: Params) -> None:
        radius, signed = _ball(problem)
        if jnp.ndim(params) != 1:
            raise ValueError(f"params must be one vector for ExponentiatedGradient, got shape {jnp.shape(params)}.")
        known, bound = concrete(params), concrete(radius)
        if known is None or bound is None:
            return
        inside = np.abs(known).sum() < bound if signed else (known > 0).all()
        if not inside:
            where = "strictly inside of the l1 ball, for example zeros" if signed else "positive, for example uniform"
            raise ValueError(f"params must be {where}: weights of zero would stay zero; got {known}.")

    def init(self, problem: Composite, params: Params) -> ExponentiatedGradientState:
        self.check(problem, params)
        term = _lifted(problem)
        radius = term.radius.astype(params.dtype)
        if term.signed:
            spare = (1 - jnp.sum(jnp.abs(params)) / radius) / (2 * params.shape[0])
            weights = jnp.concatenate([jnp.maximum(params, 0), jnp.maximum(-params, 0)]) / radius + spare
        else:
            weights = params / jnp.sum(params)
        _, gradient = problem.smooth.value_and_grad(params)
        residual_step = inverse_curvature_along(problem, params, gradient)
        return ExponentiatedGradientState(
            weights, self.descent.init(Composite(term, Simplex()), weights), residual_step
        )

    def step(
        self, problem: Composite, params: Params, state: ExponentiatedGradientState
    ) -> tuple[Params, ExponentiatedGradientState]:
        term = _lifted(problem)
        weights, descent = self.descent.step(Composite(term, Simplex()), state.weights, state.descent)
        return term.lower(weights), ExponentiatedGradientState(weights, descent, state.residual_step)

    def error(self, problem: Composite, params: Params, state: ExponentiatedGradientState) -> Scalar:
        gradient = self._gradient(problem, params, state)
        residual = residual_norm(problem, params, gradient, state.residual_step)
        return jnp.where(state.descent.failed, jnp.nan, residual / jnp.maximum(1, _tree.norm(gradient)))

    def fixed_point_step(self, problem: Composite, params: Params, state: ExponentiatedGradientState) -> Scalar:
        return inverse_curvature_along(problem, params, self._gradient(problem, params, state))

    def for_unrolling(self) -> Self:
        return eqx.tree_at(lambda s: s.descent, self, self.descent.for_unrolling())

    def _gradient(self, problem: Composite, params: Params, state: ExponentiatedGradientState) -> Params:
        radius, _ = _ball(problem)
        return state.descent.gradient[: params.shape[0]] / radius.astype(params.dtype)


def _ball(problem: Composite) -> tuple[Scalar, bool]:
    penalty = problem.penalty
    if not isinstance(penalty, Simplex | L1Ball):
        raise ValueError(
            "penalty must be Simplex(radius) or L1Ball(radius) for ExponentiatedGradient, got "
            f"{type(penalty).__name__}; take MirrorDescent with a map of its set."
        )
    if jnp.ndim(penalty.radius):
        raise ValueError("radius must be one number for ExponentiatedGradient; use vmap for several.")
    return penalty.radius, isinstance(penalty, L1Ball)


def _lifted(problem: Composite) -> _Lifted:
    radius, signed = _ball(problem)
    return _Lifted(problem.smooth, radius, signed)
