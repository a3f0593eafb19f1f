from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import known_leaves, require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import soft_threshold, total


class AbstractFolded(AbstractEntrywise):
    """Sum over entries of a concave increasing function of the magnitude; subclasses speak of magnitudes only."""

    strength: Float[Array, "..."] | Params

    is_convex: ClassVar[bool] = False

    def __init__(self, strength: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        self.strength = _tree.settings(strength)

    def _height(self, m: Array) -> Array:
        raise NotImplementedError

    def _shrink(self, m: Array, step: Array) -> Array:
        """A global minimizer over z >= 0 of `height(z) + (z - m)^2 / (2 step)`."""
        raise NotImplementedError

    def _slope(self, m: Array) -> Array:
        """Derivative of the height, at zero from the right; it may be infinite there."""
        raise NotImplementedError

    def value(self, x: Params) -> Scalar:
        return total(lambda a: self._height(jnp.abs(a)), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return jax.tree.map(lambda a: jnp.sign(a) * self._shrink(jnp.abs(a), _tree.match(step, a)), x)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        """Element of least norm of `gradient + subdifferential(x)`; zero at a stationary point of f + g."""

        def entry(a: Array, g: Array) -> Array:
            slope = self._slope(jnp.abs(a))
            return jnp.where(a == 0, soft_threshold(g, slope), g + jnp.where(a == 0, 0, slope) * jnp.sign(a))

        return jax.tree.map(entry, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a != 0, x)


def require_above(value: Any, least: float, name: str) -> None:
    """Raise `ValueError` unless every known entry of `value` is above `least`."""
    for known in known_leaves(value):
        if not (known > least).all():
            raise ValueError(f"{name} must exceed {least}, got {known}; pass a larger value.")
