import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from .._validate import concrete, require_nonnegative
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
        pools = _pools(jax.lax.stop_gradient(lowered))
        sums = jax.ops.segment_sum(lowered, pools, x.size)
        counts = jax.ops.segment_sum(jnp.ones_like(lowered), pools, x.size)
        means = jax.nn.relu(sums / jnp.maximum(counts, 1))[pools]
        return jnp.sign(x) * jnp.zeros_like(x).at[order].set(means)

    def conjugate(self, dual: Float[Array, " p"]) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(dual.dtype).eps), dual)

    def dual_scale(self, dual: Float[Array, " p"]) -> Scalar:
        ranked, strengths, _ = self._ranks(dual)
        return jnp.min(shrink_ratio(jnp.cumsum(strengths), jnp.cumsum(ranked)), initial=1)

    def support(self, x: Float[Array, " p"]) -> Array:
        return x != 0


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def _pools(v: Float[Array, " p"]) -> Int[Array, " p"]:
    """Pools of the nonincreasing regression of v, numbered along it: adjacent violators are merged, with a stack."""

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return (carry[-1] < v.size) | violated(carry)

    def violated(carry: tuple[Array, ...]) -> Array:
        means, _, _, top, _ = carry
        return (top > 0) & (means[top] > means[jnp.maximum(top - 1, 0)])

    def advance(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        means, counts, starts, top, taken = carry
        merge = violated(carry)
        under = jnp.maximum(top - 1, 0)
        count = counts[top] + counts[under]
        mean = means[under] + (means[top] - means[under]) * (counts[top] / jnp.maximum(count, 1))
        top = jnp.where(merge, under, top + 1)
        fresh = jnp.minimum(taken, v.size - 1)
        means = means.at[top].set(jnp.where(merge, mean, v[fresh]))
        counts = counts.at[top].set(jnp.where(merge, count, 1))
        starts = starts.at[top].set(jnp.where(merge, starts[top], taken))
        return means, counts, starts, top, jnp.where(merge, taken, taken + 1)

    index = jnp.arange(v.size)
    empty = (jnp.zeros_like(v), jnp.zeros_like(v), jnp.zeros_like(index), jnp.asarray(-1), jnp.asarray(0))
    _, _, starts, top, _ = while_loop(unfinished, advance, empty)
    # An entry belongs to the last pool that starts at or before it.
    marks = jnp.zeros_like(index).at[starts].add(jnp.where((index > 0) & (index <= top), 1, 0))
    return jnp.cumsum(marks)
