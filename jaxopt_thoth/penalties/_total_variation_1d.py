import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import indicator, shrink_ratio, slack


class TotalVariation1D(AbstractPenalty):
    """Sum of the absolute differences of neighbors in a vector (n,), `strength * sum |x[i+1] - x[i]|`.

    The prox is exact and piecewise constant; its derivative averages over each constant run. The direct algorithm is
    sequential and mostly linear in n; under `vmap` every row runs as long as the slowest. Raises `ValueError` for a
    known negative strength and for an array that is not a vector.

    Condat, "A direct algorithm for 1-D total variation denoising", 2013.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.TotalVariation1D(1.0).prox(jnp.array([0.0, 0.0, 6.0, 4.0]), step=1.0).tolist()
        [0.5, 0.5, 4.5, 4.5]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, " n"]) -> Scalar:
        _require_vector(x)
        return _tree.match(self.strength, x) * jnp.sum(jnp.abs(x[1:] - x[:-1]))

    def prox(self, x: Float[Array, " n"], step: ArrayLike) -> Float[Array, " n"]:
        means, runs = self._runs(x, step)
        return means[runs]

    def _runs(self, x: Float[Array, " n"], step: ArrayLike) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
        """Values of the runs of the prox, filled up with zeros, and the run of each entry."""
        _require_vector(x)
        if x.size < 2:
            return x, jnp.arange(x.size)
        t = _tree.match(self.strength, x) * _tree.match(step, x)
        jumps = _jumps(*jax.lax.stop_gradient((x, t)))
        starts = jnp.concatenate([jnp.zeros(1, jumps.dtype), jumps[:-1]])
        runs = jnp.cumsum(jnp.abs(starts))
        # The mean of a run, moved by the jumps at its ends, is affine in x and t: here is the derivative.
        pull = (jumps - starts).astype(x.dtype)
        sums = jax.ops.segment_sum(x + t * pull, runs, x.size)
        counts = jax.ops.segment_sum(jnp.ones_like(x), runs, x.size)
        return sums / jnp.maximum(counts, 1), runs

    def conjugate(self, dual: Float[Array, " n"]) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(dual.dtype).eps), dual)

    def dual_scale(self, dual: Float[Array, " n"]) -> Scalar:
        """Largest factor in [0, 1] that brings `dual` into the domain of the conjugate; zero unless it sums to zero."""
        sums = jnp.cumsum(dual)
        room = slack(dual, jnp.maximum(1, jnp.max(jnp.abs(dual), initial=0)))
        closed = jnp.all(jnp.abs(sums[-1:]) <= room)
        scale = jnp.min(shrink_ratio(self.strength, jax.nn.relu(jnp.abs(sums[:-1]) - room)), initial=1)
        return jnp.where(closed, scale, 0)

    def support(self, x: Float[Array, " n"]) -> Array:
        return jnp.ones(x.shape, bool)


def _require_vector(x: Array) -> None:
    if x.ndim != 1:
        raise ValueError(f"x must be a vector, got shape {x.shape}; pass one signal, and map over several by jax.vmap.")


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def _jumps(v: Float[Array, " n"], t: Scalar) -> Int[Array, " n"]:
    """Sign of the jump after each entry of the prox, 0 inside its runs and at the end.

    A run grows from `start` to `k` while one value keeps the cumulative residual within [-t, t]: `low` and `high` are
    the least and the largest such value, `slack_low` and `slack_high` the residuals they leave, and `end_low` and
    `end_high` the last entries where these touched the tube. Once both cannot go on, the run ends where one touched.
    """
    last = v.size - 1

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return carry[1] <= last

    def advance(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        jumps, start, k, end_low, end_high, low, high, slack_low, slack_high = carry
        at_end = k == last
        coming = v[jnp.minimum(k + 1, last)]
        falls = jnp.where(at_end, slack_low < 0, coming + slack_low < low - t)
        rises = ~falls & jnp.where(at_end, slack_high > 0, coming + slack_high > high + t)
        done = at_end & ~falls & ~rises
        cut = jnp.where(falls, end_low, end_high)
        ends = falls | rises
        jumps = jumps.at[cut].set(jnp.where(ends, jnp.where(falls, -1, 1), jumps[cut]))

        # A new run starts after the cut; at the right end the tube is closed, and one of its sides stays.
        first = jnp.minimum(cut + 1, last)
        head = v[first]
        new_low = jnp.where(falls, head, jnp.where(at_end, low, head - 2 * t))
        new_high = jnp.where(falls, jnp.where(at_end, high, head + 2 * t), head)
        new_slack_low = jnp.where(rises & at_end, head - t - low, t)
        new_slack_high = jnp.where(falls & at_end, head + t - high, -t)
        new_end_low = jnp.where(rises & at_end, end_low, first)
        new_end_high = jnp.where(falls & at_end, end_high, first)

        # Else the run takes the next entry.
        grown = jnp.minimum(k + 1, last)
        count = (grown - start + 1).astype(v.dtype)
        more_low, more_high = slack_low + v[grown] - low, slack_high + v[grown] - high
        touch_low, touch_high = more_low >= t, more_high <= -t
        grown_low = jnp.where(touch_low, low + (more_low - t) / count, low)
        grown_high = jnp.where(touch_high, high + (more_high + t) / count, high)

        def pick(new: Array, old: Array) -> Array:
            return jnp.where(ends, new, old)

        return (
            jumps,
            jnp.where(done, last + 1, pick(first, start)),
            pick(first, grown),
            pick(new_end_low, jnp.where(touch_low, grown, end_low)),
            pick(new_end_high, jnp.where(touch_high, grown, end_high)),
            pick(new_low, grown_low),
            pick(new_high, grown_high),
            pick(new_slack_low, jnp.where(touch_low, t, more_low)),
            pick(new_slack_high, jnp.where(touch_high, -t, more_high)),
        )

    zero = jnp.asarray(0)
    start = (jnp.zeros(v.shape, zero.dtype), zero, zero, zero, zero, v[0] - t, v[0] + t, t, -t)
    return while_loop(unfinished, advance, start)[0]
