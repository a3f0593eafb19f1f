import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import known_leaves, require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import indicator, largest, shrink_ratio, total


class Pinball(AbstractEntrywise):
    """Tilted absolute value `strength * sum max(quantile * x, (quantile - 1) * x)`, on any pytree.

    On residuals (target - score) it asks for a quantile; at one half it is half the l1 norm. `strength` and `quantile`
    are settings as in `AbstractPenalty`. Raises `ValueError` for a known negative strength or a quantile known to be
    outside [0, 1].

    Koenker and Bassett, "Regression quantiles", 1978.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Pinball(1.0, quantile=0.75).prox(jnp.array([2.0, 0.5, -2.0]), step=1.0).tolist()
        [1.25, 0.0, -1.75]
    """

    strength: Float[Array, "..."] | Params
    quantile: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, quantile: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        for known in known_leaves(quantile):
            if not np.all((known >= 0) & (known <= 1)):
                raise ValueError(f"quantile must lie in [0, 1], got {known}; pass 0.5 for the median.")
        self.strength = _tree.settings(strength)
        self.quantile = _tree.settings(quantile)

    def _slopes(self, a: Array) -> tuple[Array, Array]:
        strength, quantile = _tree.match(self.strength, a), _tree.match(self.quantile, a)
        return strength * (quantile - 1), strength * quantile

    def value(self, x: Params) -> Scalar:
        def entry(a: Array) -> Array:
            left, right = self._slopes(a)
            return jnp.where(a < 0, left, right) * a

        return total(entry, x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array) -> Array:
            left, right = (_tree.match(step, a) * slope for slope in self._slopes(a))
            return jnp.where(a > right, a - right, jnp.where(a < left, a - left, 0))

        return jax.tree.map(entry, x)

    def conjugate(self, dual: Params) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(_tree.dtype_of(dual)).eps), dual)

    def dual_scale(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            left, right = self._slopes(u)
            return jnp.min(shrink_ratio(jnp.where(u > 0, right, -left), jnp.abs(u)), initial=1)

        return jax.tree.reduce(jnp.minimum, jax.tree.map(entry, dual), jnp.ones((), _tree.dtype_of(dual)))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        def entry(a: Array, g: Array) -> Array:
            left, right = self._slopes(a)
            return g + jnp.where(a > 0, right, jnp.where(a < 0, left, jnp.clip(-g, left, right)))

        return jax.tree.map(entry, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a != 0, x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest single strength for which zero solves `f + g`; infinite where a one-sided pinball is pulled away."""

        def entry(g: Array) -> Array:
            quantile = _tree.match(self.quantile, g)
            bound = jnp.where(g > 0, 1 - quantile, quantile)
            held = bound > 0
            return jnp.where(held, jnp.abs(g) / jnp.where(held, bound, 1), jnp.where(g == 0, 0, jnp.inf))

        return largest(entry, gradient_at_zero)
