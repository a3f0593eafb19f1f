import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ..losses._domain import negative_entropy
from ._entrywise import AbstractEntrywise
from ._parts import entropic_root, fills, total


class NegativeEntropy(AbstractEntrywise):
    """Negative entropy of nonnegative entries, `strength * sum x log x` with 0 log 0 = 0, on any pytree.

    `strength` is a setting as in `AbstractPenalty`. The prox is a Lambert function of the exponential, found in the log
    domain. Raises `ValueError` for a known negative strength.

    Combettes and Pesquet, "Proximal splitting methods in signal processing", 2011, table 10.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.NegativeEntropy(1.0).prox(jnp.array([2.0]), step=1.0).tolist()
        [1.0]
    """

    strength: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        self.strength = _tree.settings(strength)

    def value(self, x: Params) -> Scalar:
        def entry(a: Array) -> Array:
            return jnp.where(a >= 0, _tree.match(self.strength, a) * negative_entropy(a), jnp.inf)

        return total(entry, x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array) -> Array:
            t = _tree.match(self.strength, a) * _tree.match(step, a)
            return entropic_root(a - t, t, jnp.ones_like(a))

        return jax.tree.map(entry, x)

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            strength = _tree.match(self.strength, u)
            curved = strength > 0
            smooth = strength * jnp.exp(u / jnp.where(curved, strength, 1) - 1)
            return jnp.where(curved, smooth, jnp.where(u <= 0, 0, jnp.inf))

        return total(entry, dual)

    def dual_scale(self, dual: Params) -> Scalar:
        return jnp.where(jnp.isfinite(self.conjugate(dual)), 1, 0).astype(_tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        """`gradient + strength (log x + 1)`; infinite at zero, where the entropy is infinitely steep."""
        return jax.tree.map(lambda a, g: g + _tree.match(self.strength, a) * (jnp.log(a) + 1), x, gradient)

    def support(self, x: Params) -> Params:
        return fills(x)
