import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import every, total


class L2Squared(AbstractEntrywise):
    """Half the sum of squares times the strength (ridge, weight decay), `strength/2 |x|^2`, on any pytree.

    `strength` is a setting as in `AbstractPenalty`. Raises `ValueError` for a known negative strength.

    Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", 1970.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.L2Squared(1.0).prox(jnp.array([3.0, -1.0]), step=1.0).tolist()
        [1.5, -0.5]
    """

    strength: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        self.strength = _tree.settings(strength)

    def value(self, x: Params) -> Scalar:
        return total(lambda a: 0.5 * _tree.match(self.strength, a) * a**2, x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return jax.tree.map(lambda a: a / (1 + _tree.match(self.strength, a) * _tree.match(step, a)), x)

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            strength = _tree.match(self.strength, u)
            curved = strength > 0
            return jnp.where(curved, 0.5 * u**2 / jnp.where(curved, strength, 1), jnp.where(u == 0, 0, jnp.inf))

        return total(entry, dual)

    def dual_scale(self, dual: Params) -> Scalar:
        inside = every(lambda u: (_tree.match(self.strength, u) > 0) | (u == 0), dual)
        return jnp.where(inside, 1, 0).astype(_tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return jax.tree.map(lambda a, g: g + _tree.match(self.strength, a) * a, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: jnp.ones(a.shape, bool), x)
