import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ..projections import l1_ball, simplex
from ._base import AbstractPenalty
from ._parts import at_most, indicator, shrink_ratio


class LInf(AbstractPenalty):
    """Largest absolute value of one array times the strength, `strength * max |x|`.

    The prox clips at a common level: what is left after projection onto the l1 ball of radius `strength * step`. Raises
    `ValueError` for a known negative strength.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.5.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.LInf(1.0).prox(jnp.array([3.0, -0.5]), step=1.0).tolist()
        [2.0, -0.5]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, "..."]) -> Scalar:
        peak = jnp.max(jnp.abs(x), initial=0)
        return _tree.match(self.strength, peak) * peak

    def prox(self, x: Float[Array, "..."], step: ArrayLike) -> Float[Array, "..."]:
        removed = l1_ball(x, _tree.match(self.strength, x) * _tree.match(step, x))
        rest = x - removed
        # Clipped entries tie to the last bit, or the subdifferential would miss them; the derivative is that of `rest`.
        level = jnp.max(jnp.abs(rest), initial=0)
        tied = jnp.where(removed != 0, jnp.sign(x) * level, rest)
        return rest + jax.lax.stop_gradient(tied - rest)

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        return indicator(at_most(jnp.sum(jnp.abs(dual)), self.strength), dual)

    def dual_scale(self, dual: Float[Array, "..."]) -> Scalar:
        return shrink_ratio(self.strength, jnp.sum(jnp.abs(dual)))

    def minimal_subgradient(self, x: Float[Array, "..."], gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        strength = _tree.match(self.strength, x)
        peak = jnp.max(jnp.abs(x), initial=0)
        at_zero = gradient - l1_ball(gradient, strength)
        top = jnp.abs(x) == peak
        sign = jnp.sign(x)
        pull = jnp.where(top, -sign * gradient, -jnp.inf)
        along = gradient + jnp.where(top, sign * simplex(pull, strength), 0)
        return jnp.where(peak > 0, along, at_zero)

    def support(self, x: Float[Array, "..."]) -> Array:
        return jnp.broadcast_to(jnp.any(x != 0), x.shape)

    def critical_strength(self, gradient_at_zero: Float[Array, "..."]) -> Scalar:
        return jnp.sum(jnp.abs(gradient_at_zero))
