import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import fills, positive_root, total


class LogBarrier(AbstractEntrywise):
    """Logarithmic barrier of the positive orthant, `-strength * sum log x`, on any pytree.

    The prox is positive whatever its argument; strength zero leaves the indicator of `x >= 0`. `strength` is a setting
    as in `AbstractPenalty`. The conjugate is finite for negative dual variables only, which no scaling reaches:
    `dual_scale` is 1. Raises `ValueError` for a known negative strength.

    Boyd and Vandenberghe, "Convex optimization", 2004, section 11.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.LogBarrier(2.0).prox(jnp.array([1.0, -1.0]), step=1.0).tolist()
        [2.0, 1.0]
    """

    strength: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        self.strength = _tree.settings(strength)

    def value(self, x: Params) -> Scalar:
        def entry(a: Array) -> Array:
            strength = _tree.match(self.strength, a)
            positive = a > 0
            edge = jnp.where((a == 0) & (strength == 0), 0, jnp.inf)
            return jnp.where(positive, -strength * jnp.log(jnp.where(positive, a, 1)), edge)

        return total(entry, x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return jax.tree.map(lambda a: positive_root(a, _tree.match(self.strength, a) * _tree.match(step, a)), x)

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            strength = _tree.match(self.strength, u)
            inside = (u < 0) & (strength > 0)
            ratio = jnp.where(inside, strength / jnp.where(inside, -u, 1), 1)
            edge = jnp.where((u <= 0) & (strength == 0), 0, jnp.inf)
            return jnp.where(inside, strength * (jnp.log(ratio) - 1), edge)

        return total(entry, dual)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        """`gradient - strength / x`, for x in the positive orthant."""
        return jax.tree.map(lambda a, g: g - _tree.match(self.strength, a) / a, x, gradient)

    def support(self, x: Params) -> Params:
        return fills(x)
