from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ._base import AbstractPenalty
from ._wrapper import AbstractWrapper


class Tilted(AbstractWrapper):
    """A penalty plus a linear function, `g(x) + <direction, x>`.

    `direction` is a pytree like `x` or a prefix of it; its leaves broadcast to those of `x`. The set of feasible dual
    variables is moved by it, so that no scaling need reach it: `dual_scale` is 1 and `conjugate` may be infinite.

    Parikh and Boyd, "Proximal algorithms", 2014, chapter 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Tilted(penalties.NonNegative(), 1.0).prox(jnp.array([0.5, 3.0]), step=1.0).tolist()
        [0.0, 2.0]
    """

    direction: Params

    is_indicator: ClassVar[bool] = False

    def __init__(self, penalty: AbstractPenalty, direction: Params | ArrayLike):
        self.penalty = penalty
        self.direction = _tree.settings(direction)

    def value(self, x: Params) -> Scalar:
        return self.penalty.value(x) + _tree.vdot(_tree.expand(self.direction, x, "direction"), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        moved = _tree.add_scaled(x, -jnp.asarray(step), _tree.expand(self.direction, x, "direction"))
        return self.penalty.prox(moved, step)

    def conjugate(self, dual: Params) -> Scalar:
        return self.penalty.conjugate(_tree.sub(dual, _tree.expand(self.direction, dual, "direction")))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return self.penalty.minimal_subgradient(x, _tree.add(gradient, _tree.expand(self.direction, x, "direction")))

    def support(self, x: Params) -> Params:
        return self.penalty.support(x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest strength of the inner penalty for which zero solves `f + g`."""
        direction = _tree.expand(self.direction, gradient_at_zero, "direction")
        return self.penalty.critical_strength(_tree.add(gradient_at_zero, direction))
