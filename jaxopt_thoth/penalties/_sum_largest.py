import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ..projections import capped_simplex
from ._base import AbstractPenalty
from ._counts import require_count, require_entries
from ._parts import indicator, slack


class SumLargest(AbstractPenalty):
    """Sum of the `k` largest entries of a vector (p,) times the strength; `Max` for `k = 1`.

    The prox takes off the projection onto a capped simplex: the largest entries move down by `strength * step`, and
    what they would pass moves with them. The conjugate is the indicator of `{0 <= u <= strength, sum u = k strength}`,
    which no scaling need reach: `dual_scale` is 1. Raises `ValueError` for a known negative strength, a `k` that is no
    positive integer, and a vector of fewer than `k` entries.

    Beck, "First-order methods in optimization", 2017, section 6.7 (example 6.51).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.SumLargest(1.0, k=2).prox(jnp.array([4.0, 1.0, 0.5]), step=1.0).tolist()
        [3.0, 0.25, 0.25]
    """

    strength: Scalar
    k: int = eqx.field(static=True)

    def __init__(self, strength: ArrayLike, k: int):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)
        self.k = require_count(k)

    def value(self, x: Float[Array, " p"]) -> Scalar:
        require_entries(x, self.k)
        return _tree.match(self.strength, x) * jnp.sum(jax.lax.top_k(x, self.k)[0])

    def prox(self, x: Float[Array, " p"], step: ArrayLike) -> Float[Array, " p"]:
        require_entries(x, self.k)
        bound = _tree.match(self.strength, x) * _tree.match(step, x)
        return x - capped_simplex(x, self.k * bound, bound)

    def conjugate(self, dual: Float[Array, " p"]) -> Scalar:
        require_entries(dual, self.k)
        strength = _tree.match(self.strength, dual)
        total = self.k * strength
        closed = jnp.abs(jnp.sum(dual) - total) <= slack(dual, jnp.maximum(1, total))
        room = slack(dual, jnp.maximum(1, strength))
        return indicator(closed & jnp.all((dual >= -room) & (dual <= strength + room)), dual)

    def minimal_subgradient(self, x: Float[Array, " p"], gradient: Float[Array, " p"]) -> Float[Array, " p"]:
        require_entries(x, self.k)
        strength = _tree.match(self.strength, x)
        last = jax.lax.top_k(x, self.k)[0][-1]
        # The prox ties entries up to rounding only.
        room = slack(x, jnp.max(jnp.abs(x)))
        above, tied = x > last + room, jnp.abs(x - last) <= room
        left = strength * jnp.maximum(self.k - jnp.sum(above), 0).astype(x.dtype)
        shared = capped_simplex(jnp.where(tied, -gradient, -jnp.inf), left, strength)
        return gradient + jnp.where(above, strength, jnp.where(tied, shared, 0))

    def support(self, x: Float[Array, " p"]) -> Array:
        return jnp.ones(x.shape, bool)
