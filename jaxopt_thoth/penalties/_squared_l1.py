import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import indicator, soft_threshold


class SquaredL1(AbstractPenalty):
    """Half the square of the l1 norm of one array times the strength, `strength/2 * |x|_1^2`.

    The prox is soft thresholding at a level that grows with the norm of the result. Raises `ValueError` for a known
    negative strength.

    Beck, "First-order methods in optimization", 2017, section 6.8.2; the level is found by a monotone Newton's method
    instead of a sort.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.SquaredL1(1.0).prox(jnp.array([3.0, 1.0]), step=1.0).tolist()
        [1.5, 0.0]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, "..."]) -> Scalar:
        norm = jnp.sum(jnp.abs(x))
        return 0.5 * _tree.match(self.strength, norm) * norm**2

    def prox(self, x: Float[Array, "..."], step: ArrayLike) -> Float[Array, "..."]:
        t = _tree.match(self.strength, x) * _tree.match(step, x)
        return soft_threshold(x, squared_l1_level(jnp.abs(x), t))

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        peak = jnp.max(jnp.abs(dual), initial=0)
        strength = _tree.match(self.strength, peak)
        curved = strength > 0
        return jnp.where(curved, 0.5 * peak**2 / jnp.where(curved, strength, 1), indicator(peak == 0, dual))

    def dual_scale(self, dual: Float[Array, "..."]) -> Scalar:
        return jnp.where(jnp.isfinite(self.conjugate(dual)), 1, 0).astype(dual.dtype)

    def minimal_subgradient(self, x: Float[Array, "..."], gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        level = _tree.match(self.strength, x) * jnp.sum(jnp.abs(x))
        return jnp.where(x == 0, soft_threshold(gradient, level), gradient + level * jnp.sign(x))

    def support(self, x: Float[Array, "..."]) -> Array:
        return x != 0


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def squared_l1_level(m: Array, t: Array) -> Array:
    """Root of `level = t sum max(m - level, 0)`: concave and increasing, so Newton's method climbs and ends."""

    def newton(level: Array, m: Array, t: Array) -> Array:
        above = jax.lax.stop_gradient(m) > level
        count = jnp.sum(above).astype(m.dtype)
        return t * jnp.sum(jnp.where(above, m, 0)) / (1 + t * count)

    def climbs(carry: tuple[Array, Array]) -> Array:
        return carry[1] > carry[0]

    def climb(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return carry[1], jnp.maximum(carry[1], newton(carry[1], held, held_t))

    held, held_t = jax.lax.stop_gradient((m, t))
    start = jnp.zeros((), m.dtype)
    level, _ = while_loop(climbs, climb, (start, jnp.maximum(start, newton(start, held, held_t))))
    return newton(level, m, t)
