import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete, require_nonnegative
from ..projections import isotonic
from ._base import AbstractPenalty
from ._parts import indicator, shrink_ratio


class Slope(AbstractPenalty):
    """Sorted l1 norm of a vector (p,): the k-th largest magnitude costs `strengths[k]`, none above the one before.

    Equal strengths give `L1`, a first one alone gives `LInf`; steps in between pull entries to equal magnitudes. The
    prox subtracts the strengths from the sorted magnitudes and pools what is then out of order; its derivative averages
    over each pool. Raises `ValueError` for known strengths that are negative or increase, and for a vector of another
    length.

    Bogdan, van den Berg, Sabatti, Su and Candes, "SLOPE: adaptive variable selection via convex optimization", 2015.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Slope([2.0, 1.0, 0.0]).prox(jnp.array([-3.0, 2.5, 0.5]), step=1.0).tolist()
        [-1.25, 1.25, 0.5]
    """

    strengths: Float[Array, " p"]

    def __init__(self, strengths: Float[ArrayLike, " p"]):
        require_nonnegative(strengths, "strengths")
        self.strengths = _tree.setting(strengths)
        known = concrete(strengths)
        if self.strengths.ndim != 1 or (known is not None and np.any(np.diff(known) > 0)):
            raise ValueError("strengths must be a vector that does not increase; sort them from large to small.")

    def _ranks(self, x: Float[Array, " p"]) -> tuple[Array, Array, Array]:
        if x.shape != self.strengths.shape:
            raise ValueError(f"x has shape {x.shape} but strengths {self.strengths.shape}; pass one strength a rank.")
        magnitude = jnp.abs(x)
        # Descending; the order carries no derivative.
        order = jnp.argsort(-jax.lax.stop_gradient(magnitude))
        return magnitude[order], self.strengths.astype(x.dtype), order

    def value(self, x: Float[Array, " p"]) -> Scalar:
        ranked, strengths, _ = self._ranks(x)
        return jnp.sum(strengths * ranked)

    def prox(self, x: Float[Array, " p"], step: ArrayLike) -> Float[Array, " p"]:
        ranked, strengths, order = self._ranks(x)
        lowered = ranked - _tree.match(step, x) * strengths
        means = jax.nn.relu(isotonic(lowered, increasing=False))
        return jnp.sign(x) * jnp.zeros_like(x).at[order].set(means)

    def conjugate(self, dual: Float[Array, " p"]) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(dual.dtype).eps), dual)

    def dual_scale(self, dual: Float[Array, " p"]) -> Scalar:
        ranked, strengths, _ = self._ranks(dual)
        return jnp.min(shrink_ratio(jnp.cumsum(strengths), jnp.cumsum(ranked)), initial=1)

    def minimal_subgradient(self, x: Float[Array, " p"], gradient: Float[Array, " p"]) -> Float[Array, " p"]:
        ranked, strengths, _ = self._ranks(x)
        zero = x == 0
        outward = jnp.where(zero, jnp.abs(gradient), -jnp.sign(x) * gradient)
        # Entries that tie share their strengths: what the projection onto the permutations of these leaves over is an
        # isotonic regression, and of the entries at zero its positive part.
        order = jnp.lexsort((-outward, -jnp.abs(x)))
        lowered = outward[order] - strengths
        left = jnp.zeros_like(x).at[order].set(_pool_ties(ranked, lowered))
        return jnp.where(zero, jnp.sign(gradient) * jax.nn.relu(left), -jnp.sign(x) * left)

    def support(self, x: Float[Array, " p"]) -> Array:
        return x != 0

    def critical_strength(self, gradient_at_zero: Float[Array, " p"]) -> Scalar:
        """Smallest factor for which zero solves `f + factor * g`: a solution is zero with `factor * strengths`."""
        ranked, strengths, _ = self._ranks(gradient_at_zero)
        pulls, bounds = jnp.cumsum(ranked), jnp.cumsum(strengths)
        held = bounds > 0
        return jnp.max(jnp.where(held, pulls / jnp.where(held, bounds, 1), jnp.where(pulls > 0, jnp.inf, 0)), initial=0)


def _pool_ties(ranked: Float[Array, " p"], v: Float[Array, " p"]) -> Float[Array, " p"]:
    """Nonincreasing regression of v inside each run of equal values of `ranked`."""
    if v.size == 0:
        return v
    first = jnp.ones(1, bool)
    starts = jnp.concatenate([first, ranked[1:] != ranked[:-1]])
    ties = jnp.cumsum(starts) - 1
    held = jax.lax.stop_gradient(v)
    least, most = (reduce(held, ties, v.size) for reduce in (jax.ops.segment_min, jax.ops.segment_max))
    # Runs are moved apart, so that one regression pools inside each of them; the means are those of what was not moved.
    drops = jnp.where(jnp.isfinite(most[1:]), jnp.minimum(least[:-1] - most[1:], 0), 0)
    offsets = jnp.concatenate([jnp.zeros(1, v.dtype), jnp.cumsum(drops)])
    fit = isotonic(held + offsets[ties], increasing=False)
    pools = jnp.cumsum(starts | jnp.concatenate([first, fit[1:] != fit[:-1]])) - 1
    sums = jax.ops.segment_sum(v, pools, v.size)
    return (sums / jnp.maximum(jax.ops.segment_sum(jnp.ones_like(v), pools, v.size), 1))[pools]
