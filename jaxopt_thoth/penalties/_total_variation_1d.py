import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._sequential import read, sequential, write
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import indicator, shrink_ratio, slack


class TotalVariation1D(AbstractPenalty):
    """Sum of the absolute differences of neighbors in a vector (n,), `sum strength |x[i+1] - x[i]|`.

    `strength` is a scalar, or one number a difference (n - 1,). The prox is exact and piecewise constant, equal to the
    last bit along each constant run, in time linear in n; its derivative averages over the runs. Raises `ValueError`
    for a known negative strength and for an array that is not a vector.

    Johnson, "A dynamic programming algorithm for the fused lasso and l0-segmentation", 2013; Condat, "A direct
    algorithm for 1-D total variation denoising", 2013.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.TotalVariation1D(1.0).prox(jnp.array([0.0, 0.0, 6.0, 4.0]), step=1.0).tolist()
        [0.5, 0.5, 4.5, 4.5]
    """

    strength: Float[Array, "..."]

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def _strengths(self, x: Float[Array, " n"]) -> Float[Array, " n-1"]:
        if x.ndim != 1:
            raise ValueError(
                f"x must be a vector, got shape {x.shape}; pass one signal, and map over several by jax.vmap."
            )
        if self.strength.ndim and self.strength.shape != (max(x.size - 1, 0),):
            raise ValueError(f"strength has shape {self.strength.shape} but x {x.shape}; pass one number a difference.")
        return _tree.match(self.strength, x[1:])

    def value(self, x: Float[Array, " n"]) -> Scalar:
        return jnp.sum(self._strengths(x) * jnp.abs(x[1:] - x[:-1]))

    def prox(self, x: Float[Array, " n"], step: ArrayLike) -> Float[Array, " n"]:
        tube = jnp.broadcast_to(self._strengths(x) * _tree.match(step, x[1:]), x[1:].shape)
        return _taut_string(x, tube) if x.size > 1 else x

    def conjugate(self, dual: Float[Array, " n"]) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(dual.dtype).eps), dual)

    def dual_scale(self, dual: Float[Array, " n"]) -> Scalar:
        """Largest factor in [0, 1] that brings `dual` into the domain of the conjugate; zero unless it sums to zero."""
        strengths = self._strengths(dual)
        sums = jnp.cumsum(dual)
        room = slack(dual, jnp.maximum(1, jnp.max(jnp.abs(dual), initial=0)))
        closed = jnp.all(jnp.abs(sums[-1:]) <= room)
        scale = jnp.min(shrink_ratio(strengths, jax.nn.relu(jnp.abs(sums[:-1]) - room)), initial=1)
        return jnp.where(closed, scale, 0)

    def support(self, x: Float[Array, " n"]) -> Array:
        return jnp.ones(x.shape, bool)


@jax.custom_jvp
def _taut_string(v: Float[Array, " n"], tube: Float[Array, " n-1"]) -> Float[Array, " n"]:
    return _solve_chain(v, tube)


@_taut_string.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    v, tube = primals
    dv, dtube = tangents
    z = _taut_string(v, tube)
    # The mean of a run, moved by the jumps at its ends, is affine in the entries and the strengths.
    pull = jnp.concatenate([z[:1] * 0, jnp.sign(z[1:] - z[:-1]) * dtube, z[:1] * 0])
    moved = dv + pull[1:] - pull[:-1]
    # Where the strength is zero nothing ties neighbors, even equal ones.
    parts = (z[1:] != z[:-1]) | (tube == 0)
    runs = jnp.cumsum(jnp.concatenate([jnp.zeros(1, jnp.int32), parts.astype(jnp.int32)]))
    pool = lambda terms: jax.ops.segment_sum(terms, runs, v.size, indices_are_sorted=True)[runs]
    return z, pool(moved) / pool(jnp.ones_like(moved))


@sequential
def _solve_chain(v: Float[Array, " n"], tube: Float[Array, " n-1"]) -> Float[Array, " n"]:
    """Dynamic programming along the chain: `z[i] = clip(z[i + 1], low[i], high[i])`.

    As a function of `z[i + 1]`, the least cost of the first i + 1 entries has as its derivative an increasing piecewise
    linear function, cut off at plus and minus `tube[i]`. Its knots and changes of slope lie in a double-ended queue.
    Adding the cost of an entry gives the function the slope one more; from the left end, where it starts as a ray
    through `low`, and from the right, knots are dropped until the cut lies on the ray between two of them.
    """
    n = v.shape[0]
    one = jnp.asarray(1, jnp.int32)
    unit = jnp.ones((), v.dtype)
    around = jnp.concatenate([jnp.zeros(1, v.dtype), tube, jnp.zeros(1, v.dtype)])
    # Where the outermost rays of the function reach the cut, for one more entry.
    gap = around[:-1] - around[1:]
    from_left, from_right = v + gap, v - gap

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        i, left, right, low, slope_low, high, slope_high, knots, slopes, lows, highs = carry
        # Written at each step, outside of the queue if knots are left to drop.
        knots = write(write(knots, left - 1, low), right + 1, high)
        slopes = write(write(slopes, left - 1, slope_low), right + 1, -slope_high)
        lows, highs = write(lows, i, low), write(highs, i, high)
        knot_low, knot_high = read(knots, left), read(knots, right)
        drop_low = (left <= right) & (knot_low <= low)
        # Rounding must not let both ends drop the last knot.
        drop_high = (left + drop_low.astype(jnp.int32) <= right) & (knot_high > high)
        done = ~(drop_low | drop_high)
        steeper_low, steeper_high = slope_low + read(slopes, left), slope_high - read(slopes, right)
        following = i + done.astype(jnp.int32)
        entry = jnp.minimum(following, n - 1)

        def choose(fresh: Array, dropped: Array, moved: Array, kept: Array) -> Array:
            return jnp.where(done, fresh, jnp.where(dropped, moved, kept))

        # Multiplied before it is divided: a rounded ratio of slopes would be a bias that adds up along the chain.
        moved_low = knot_low + (low - knot_low) * slope_low / steeper_low
        moved_high = knot_high + (high - knot_high) * slope_high / steeper_high
        return (
            following,
            choose(left - 1, drop_low, left + 1, left),
            choose(right + 1, drop_high, right - 1, right),
            choose(read(from_left, entry), drop_low, moved_low, low),
            choose(unit, drop_low, steeper_low, slope_low),
            choose(read(from_right, entry), drop_high, moved_high, high),
            choose(unit, drop_high, steeper_high, slope_high),
            knots,
            slopes,
            lows,
            highs,
        )

    queue, zeros = jnp.zeros(2 * n + 3, v.dtype), jnp.zeros_like(v)
    empty = (one - 1, one * (n + 1), one * n, from_left[0], unit, from_right[0], unit, queue, queue, zeros, zeros)
    lows, highs = while_loop(lambda carry: carry[0] < n, step, empty)[-2:]

    def back(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        i, z, out = carry
        z = jnp.clip(z, read(lows, i), read(highs, i))
        return i - 1, z, write(out, i, z)

    return while_loop(lambda carry: carry[0] >= 0, back, (one * (n - 1), lows[n - 1], zeros))[2]
