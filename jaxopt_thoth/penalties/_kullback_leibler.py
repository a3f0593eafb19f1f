import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..losses._domain import negative_entropy
from ._entrywise import AbstractEntrywise
from ._parts import entropic_root, fills, total


class KullbackLeibler(AbstractEntrywise):
    """Divergence from a positive reference, `strength * sum (x log(x / reference) - x + reference)`, on any pytree.

    Zero at the reference and nowhere else, infinite for negative entries. `strength` and `reference` are settings as in
    `AbstractPenalty`. Raises `ValueError` for a known negative strength, and unless the known entries of the reference
    are positive.

    Combettes and Pesquet, "Proximal splitting methods in signal processing", 2011, table 10.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.KullbackLeibler(1.0, reference=2.0).prox(jnp.array([2.0]), step=1.0).tolist()
        [2.0]
    """

    strength: Float[Array, "..."] | Params
    reference: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, reference: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        require_positive(reference, "reference")
        self.strength = _tree.settings(strength)
        self.reference = _tree.settings(reference)

    def value(self, x: Params) -> Scalar:
        def entry(a: Array, r: Array) -> Array:
            divergence = r * negative_entropy(a / r) - a + r
            return jnp.where(a >= 0, _tree.match(self.strength, a) * divergence, jnp.inf)

        return total(entry, x, _tree.expand(self.reference, x))

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array, r: Array) -> Array:
            return entropic_root(a, _tree.match(self.strength, a) * _tree.match(step, a), r)

        return jax.tree.map(entry, x, _tree.expand(self.reference, x))

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array, r: Array) -> Array:
            strength = _tree.match(self.strength, u)
            curved = strength > 0
            smooth = strength * r * jnp.expm1(u / jnp.where(curved, strength, 1))
            return jnp.where(curved, smooth, jnp.where(u <= 0, 0, jnp.inf))

        return total(entry, dual, _tree.expand(self.reference, dual))

    def dual_scale(self, dual: Params) -> Scalar:
        return jnp.where(jnp.isfinite(self.conjugate(dual)), 1, 0).astype(_tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        """`gradient + strength log(x / reference)`; infinite at zero, where the divergence is infinitely steep."""

        def entry(a: Array, g: Array, r: Array) -> Array:
            return g + _tree.match(self.strength, a) * jnp.log(a / r)

        return jax.tree.map(entry, x, gradient, _tree.expand(self.reference, x))

    def support(self, x: Params) -> Params:
        return fills(x)
