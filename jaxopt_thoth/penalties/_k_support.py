import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._counts import require_count, require_entries
from ._parts import indicator, soft_threshold


class KSupport(AbstractPenalty):
    """Half the square of the k-support norm of a vector (p,) times the strength, `strength/2 * |x|_ksp^2`.

    The unit ball of the norm is the convex hull of the vectors of at most `k` entries and of unit Euclidean norm: the
    half square is `SquaredL1` for `k = 1`, `L2Squared` for `k = p`, and in between a tighter `ElasticNet`. The dual
    norm is the Euclidean norm of the `k` largest magnitudes. The prox scales the largest magnitudes and soft-thresholds
    the others. Raises `ValueError` for a known negative strength, a `k` that is no positive integer, and a vector of
    fewer than `k` entries.

    Argyriou, Foygel and Srebro, "Sparse prediction with the k-support norm", 2012; in the form of McDonald, Pontil and
    Stamos, "New perspectives on k-support and cluster norms", 2016, `|x|_ksp^2 = min sum x_i^2 / theta_i` over
    `0 < theta_i <= 1, sum theta_i <= k`, whose multiplier is found by Newton's method inside a bracket.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.KSupport(1.0, k=2).prox(jnp.array([6.0, 3.5, 2.5]), step=1.0).tolist()
        [3.0, 1.5, 0.5]
    """

    strength: Scalar
    k: int = eqx.field(static=True)

    def __init__(self, strength: ArrayLike, k: int):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)
        self.k = require_count(k)

    def value(self, x: Float[Array, " p"]) -> Scalar:
        require_entries(x, self.k)
        full, part, level = self._faces(x)
        squares = jnp.sum(jnp.where(full, x, 0) ** 2) + level * jnp.sum(jnp.where(part, jnp.abs(x), 0))
        return 0.5 * _tree.match(self.strength, squares) * squares

    def prox(self, x: Float[Array, " p"], step: ArrayLike) -> Float[Array, " p"]:
        require_entries(x, self.k)
        t = _tree.match(self.strength, x) * _tree.match(step, x)
        if self.k == x.size:
            return x / (1 + t)
        magnitude = jnp.abs(x)
        full, part, last = _split(*jax.lax.stop_gradient((magnitude, t)), self.k)
        room = self.k - jnp.sum(full).astype(x.dtype)
        # The threshold relative to the k-th magnitude: for a large strength all that is left is next to nothing.
        gaps = jnp.where(part, magnitude - last, 0)
        rest = (room * last - t * jnp.sum(gaps)) / jnp.maximum(room + t * jnp.sum(part).astype(x.dtype), 1)
        return jnp.where(full, x / (1 + t), jnp.where(part, jnp.sign(x) * (gaps + rest), 0))

    def conjugate(self, dual: Float[Array, " p"]) -> Scalar:
        require_entries(dual, self.k)
        squares = jnp.sum(jax.lax.top_k(jnp.abs(dual), self.k)[0] ** 2)
        strength = _tree.match(self.strength, squares)
        curved = strength > 0
        return jnp.where(curved, 0.5 * squares / jnp.where(curved, strength, 1), indicator(squares == 0, dual))

    def dual_scale(self, dual: Float[Array, " p"]) -> Scalar:
        return jnp.where(jnp.isfinite(self.conjugate(dual)), 1, 0).astype(dual.dtype)

    def minimal_subgradient(self, x: Float[Array, " p"], gradient: Float[Array, " p"]) -> Float[Array, " p"]:
        require_entries(x, self.k)
        full, _, level = self._faces(x)
        strength = _tree.match(self.strength, x)
        # With k entries alone the others may pull as hard as the smallest of these; with fewer they are free.
        smallest = jnp.min(jnp.where(full, jnp.abs(x), jnp.inf))
        level = jnp.where(jnp.sum(full) == self.k, smallest, level)
        along = gradient + strength * jnp.where(full, x, jnp.sign(x) * level)
        return jnp.where(x == 0, soft_threshold(gradient, strength * level), along)

    def support(self, x: Float[Array, " p"]) -> Array:
        return x != 0

    def _faces(self, x: Float[Array, " p"]) -> tuple[Array, Array, Array]:
        """The entries that count by their squares, those that count by their sum, and the mean level of these."""
        magnitude = jnp.abs(x)
        full, part, _ = _split(jax.lax.stop_gradient(magnitude), jnp.zeros((), x.dtype), self.k)
        room = self.k - jnp.sum(full).astype(x.dtype)
        level = jnp.sum(jnp.where(part, magnitude, 0)) / jnp.maximum(room, 1)
        return full, part, level


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@eqx.filter_jit
def _split(m: Array, t: Array, k: int) -> tuple[Array, Array, Array]:
    """Masks of `theta = 1` and of `0 < theta < 1`, where `theta = clip(alpha m - t, 0, 1)` sums to k, and `m_k`.

    In the unknown `beta = alpha m_k - t`, which is the theta of the k-th largest magnitude `m_k`, the root lies between
    0 and 1, where theta sums to less than k and to no less.
    """
    last = jax.lax.top_k(m, k)[0][-1]
    fits = last == 0
    # What is so much larger is full: the root is at least 1 / p, since no more than k - 1 entries exceed the last.
    unit, most = jnp.where(fits, 1, last), float(jnp.finfo(m.dtype).max) ** 0.25
    ratio = jnp.minimum(m / unit, most)
    shift = t * jnp.minimum((m - last) / unit, most)

    def look(beta: Array) -> tuple[Array, Array, Array]:
        """Side of each entry (-1 where theta is zero, 1 where it is one), excess over k, slope."""
        theta = beta * ratio + shift
        side = (theta >= 1).astype(jnp.int8) - (theta <= 0).astype(jnp.int8)
        free = side == 0
        # Full entries are counted, not summed: their number is exact.
        excess = jnp.sum(jnp.where(free, theta, 0)) - (k - jnp.sum(side == 1)).astype(m.dtype)
        return side, excess, jnp.sum(jnp.where(free, ratio, 0))

    def unfinished(carry: tuple[Array, ...]) -> Array:
        *_, done, count = carry
        # Every third step halves the bracket: this many reach the spacing of floats.
        return ~done & (count < 200)

    def narrow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        beta, low, high, _, count = carry
        side, excess, slope = look(beta)
        low, high = jnp.where(excess < 0, beta, low), jnp.where(excess < 0, high, beta)
        rises = slope > 0
        target = beta - jnp.where(rises, excess / jnp.where(rises, slope, 1), 0)
        inside = (target > low) & (target < high)
        middle = low + (high - low) / 2
        # Newton's step is exact where no entry changes side.
        exact = inside & jnp.all(look(target)[0] == side)
        stuck = (excess == 0) | ((middle <= low) | (middle >= high)) & ~exact
        halve = ~exact & (~inside | (count % 3 == 2))
        new = jnp.where(stuck, beta, jnp.where(halve, middle, target))
        return new, low, high, stuck | exact, count + 1

    zero, one = jnp.zeros((), m.dtype), jnp.ones((), m.dtype)
    beta, *_ = while_loop(unfinished, narrow, (one, zero, one, fits, jnp.asarray(0)))
    side, *_ = look(beta)
    full = jnp.where(fits, m > 0, side == 1)
    return full, ~fits & (side == 0), last
