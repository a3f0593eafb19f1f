import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import indicator, shrink_ratio, total


class Hinge(AbstractEntrywise):
    """Shortfall below one, `strength * sum max(1 - x, 0)`, on any pytree: the loss of support vector machines.

    `strength` is a setting as in `AbstractPenalty`. Raises `ValueError` for a known negative strength.

    Cortes and Vapnik, "Support-vector networks", 1995.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Hinge(1.0).prox(jnp.array([-1.0, 0.5, 2.0]), step=1.0).tolist()
        [0.0, 1.0, 2.0]
    """

    strength: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        self.strength = _tree.settings(strength)

    def value(self, x: Params) -> Scalar:
        return total(lambda a: _tree.match(self.strength, a) * jax.nn.relu(1 - a), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array) -> Array:
            raised = a + _tree.match(self.strength, a) * _tree.match(step, a)
            return jnp.where(a >= 1, a, jnp.minimum(raised, 1))

        return jax.tree.map(entry, x)

    def conjugate(self, dual: Params) -> Scalar:
        inside = self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(_tree.dtype_of(dual)).eps)
        return total(lambda u: u, dual) + indicator(inside, dual)

    def dual_scale(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            room = shrink_ratio(self.strength, jnp.abs(u))
            return jnp.min(jnp.where(u > 64 * float(jnp.finfo(u.dtype).eps), 0, room), initial=1)

        return jax.tree.reduce(jnp.minimum, jax.tree.map(entry, dual), jnp.ones((), _tree.dtype_of(dual)))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        def entry(a: Array, g: Array) -> Array:
            strength = _tree.match(self.strength, a)
            return g - jnp.where(a < 1, strength, jnp.where(a > 1, 0, jnp.clip(g, 0, strength)))

        return jax.tree.map(entry, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a != 1, x)
