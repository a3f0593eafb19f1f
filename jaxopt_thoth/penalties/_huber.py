import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative, require_positive
from ._entrywise import AbstractEntrywise
from ._parts import fills, shrink_ratio, total


class Huber(AbstractEntrywise):
    """Half the square near zero and linear beyond, `strength * huber(x)`, on any pytree: an l1 norm without its kink.

    huber(x) is the sum of `x^2 / 2` where |x| <= delta and `delta |x| - delta^2 / 2` beyond. `strength` and `delta` are
    settings as in `AbstractPenalty`. Raises `ValueError` for a known negative strength, and unless a known `delta` is
    positive.

    Huber, "Robust estimation of a location parameter", 1964.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Huber(1.0, delta=1.0).prox(jnp.array([3.0, 1.0]), step=1.0).tolist()
        [2.0, 0.5]
    """

    strength: Float[Array, "..."] | Params
    delta: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, delta: ArrayLike | Params = 1.0):
        require_nonnegative(strength, "strength")
        require_positive(delta, "delta")
        self.strength = _tree.settings(strength)
        self.delta = _tree.settings(delta)

    def _slope(self, a: Array) -> Array:
        delta = _tree.match(self.delta, a)
        return jnp.clip(a, -delta, delta)

    def value(self, x: Params) -> Scalar:
        def entry(a: Array) -> Array:
            slope = self._slope(a)
            return _tree.match(self.strength, a) * slope * (a - 0.5 * slope)

        return total(entry, x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array) -> Array:
            t = _tree.match(self.strength, a) * _tree.match(step, a)
            return a - t * self._slope(a / (1 + t))

        return jax.tree.map(entry, x)

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            strength = _tree.match(self.strength, u)
            inside = jnp.abs(u) <= strength * _tree.match(self.delta, u) * (1 + 64 * float(jnp.finfo(u.dtype).eps))
            quadratic = 0.5 * u**2 / jnp.where(strength > 0, strength, 1)
            return jnp.where(inside, quadratic, jnp.inf)

        return total(entry, dual)

    def dual_scale(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            bound = _tree.match(self.strength, u) * _tree.match(self.delta, u)
            return jnp.min(shrink_ratio(bound, jnp.abs(u)), initial=1)

        return jax.tree.reduce(jnp.minimum, jax.tree.map(entry, dual), jnp.ones((), _tree.dtype_of(dual)))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return jax.tree.map(lambda a, g: g + _tree.match(self.strength, a) * self._slope(a), x, gradient)

    def support(self, x: Params) -> Params:
        return fills(x)
