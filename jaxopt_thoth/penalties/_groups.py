"""What penalties over groups of coordinates share: reductions by group id, their proxes, and their faces."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import block_factor, indicator, shrink_ratio


def ids_like(groups: Array, x: Array) -> Array:
    """One id a coordinate (p,) spread to the entries of `x` (p, ...)."""
    return jnp.broadcast_to(groups.reshape(-1, *[1] * (x.ndim - 1)), x.shape)


def group_sums(x: Array, ids: Array, count: int) -> Array:
    """Sum of the entries of each of `count` groups; `ids` is like `x`."""
    return jax.ops.segment_sum(x.reshape(-1), ids.reshape(-1), count)


def group_peaks(x: Array, ids: Array, count: int) -> Array:
    """Largest magnitude of each group, 0 where there is none; the derivative is shared by the largest entries."""
    magnitude = jnp.abs(x)
    peaks = _held_peaks(magnitude, ids, count)
    top = magnitude == peaks[ids]
    sizes = jnp.maximum(group_sums(top.astype(x.dtype), ids, count), 1)
    return peaks + group_sums(jnp.where(top, magnitude - peaks[ids], 0), ids, count) / sizes


def _held_peaks(x: Array, ids: Array, count: int) -> Array:
    # Groups without entries, or with none but masked ones, come back as minus infinity.
    found = jax.ops.segment_max(jax.lax.stop_gradient(x).reshape(-1), ids.reshape(-1), count)
    return jnp.where(jnp.isfinite(found), found, 0)


def _scaled_norms(x: Array, ids: Array, count: int) -> tuple[Array, Array]:
    """Euclidean norm of each group in units of its largest magnitude, and these units."""
    peaks = _held_peaks(jnp.abs(x), ids, count)
    units = jnp.where(peaks > 0, peaks, 1)
    return _tree.safe_sqrt(group_sums((x / units[ids]) ** 2, ids, count)), units


def group_norms(x: Array, ids: Array, count: int) -> Array:
    """Euclidean norm of each group."""
    # Squares of tiny or huge entries would leave the float range.
    norms, units = _scaled_norms(x, ids, count)
    return units * norms


def shrink_groups(x: Array, ids: Array, thresholds: Array) -> Array:
    """Prox of `sum_g thresholds_g |x_g|_2`."""
    # In units of the group, or the derivative of a zero threshold over a tiny norm would be 0 / 0.
    norms, units = _scaled_norms(x, ids, thresholds.size)
    return x * block_factor(norms, thresholds / units)[ids]


def clip_groups(x: Array, ids: Array, thresholds: Array) -> Array:
    """Prox of `sum_g thresholds_g |x_g|_inf`; clipped entries tie to the last bit."""
    levels, clipped = group_levels(jnp.abs(x), ids, thresholds)
    level = levels[ids]
    return jnp.where(level > 0, jnp.where(clipped, jnp.sign(x) * level, x), 0)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def group_levels(x: Array, ids: Array, radii: Array) -> tuple[Array, Array]:
    """Roots of `sum_{i in g} max(x_i - level_g, 0) = radii_g`, and the mask of the entries at or above their level.

    Entries of minus infinity are masked out. Each function is convex and decreasing: Newton's method from the left end
    climbs, in all groups at once, and ends after finitely many steps.
    """
    peaks = _held_peaks(x, ids, radii.size)

    def entries_above(levels: Array) -> Array:
        # At radius zero nothing is above the level, yet a growing radius enters at the largest entries.
        return (held > levels[ids]) | (held >= 0)

    def newton(above: Array, gaps: Array, radii: Array) -> Array:
        counts = group_sums(above.astype(gaps.dtype), ids, radii.size)
        return (group_sums(jnp.where(above, gaps, 0), ids, radii.size) - radii) / jnp.maximum(counts, 1)

    def climbs(carry: tuple[Array, Array]) -> Array:
        return jnp.any(carry[1] > carry[0])

    def climb(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        new = carry[1]
        return new, jnp.maximum(new, newton(entries_above(new), held, held_radii))

    # Relative to the largest entry of its group: the sums would otherwise lose what exceeds the level.
    gaps = x - peaks[ids]
    held, held_radii = jax.lax.stop_gradient((gaps, radii))
    start = -held_radii
    first = jnp.maximum(start, newton(entries_above(start), held, held_radii))
    _, levels = while_loop(climbs, climb, (start, first))
    above = entries_above(levels)
    return peaks + newton(above, gaps, radii), above


def least_on_spheres(x: Array, gradient: Array, ids: Array, bounds: Array) -> Array:
    """Element of least norm of `gradient` plus the subdifferential of `sum_g bounds_g |x_g|_2`."""
    norms = group_norms(x, ids, bounds.size)
    alive = norms > 0
    along = (bounds / jnp.where(alive, norms, 1))[ids] * x
    return jnp.where(alive[ids], gradient + along, shrink_groups(gradient, ids, bounds))


def least_on_cubes(x: Array, gradient: Array, ids: Array, bounds: Array) -> Array:
    """Element of least norm of `gradient` plus the subdifferential of `sum_g bounds_g |x_g|_inf`."""
    magnitude = jnp.abs(x)
    peaks = _held_peaks(magnitude, ids, bounds.size)
    alive = (peaks > 0)[ids]
    top = alive & (magnitude == peaks[ids])
    outward = -jnp.sign(x) * gradient
    levels, _ = group_levels(jnp.where(top, outward, -jnp.inf), ids, bounds)
    on_face = jnp.where(top, -jnp.sign(x) * jnp.minimum(outward, levels[ids]), gradient)
    return jnp.where(alive, on_face, clip_groups(gradient, ids, bounds))


class AbstractGroupNorm(AbstractPenalty):
    """`strength * sum_g weights_g |x_g|` over disjoint groups, of a norm that a subclass gives with its dual.

    See `GroupLasso` for the arguments.
    """

    strength: Scalar
    weights: Float[Array, "..."]
    groups: Int[Array, " p"]
    num_groups: int = eqx.field(static=True)
    # None while the groups are traced.
    largest_group: int | None = eqx.field(static=True)

    def __init__(
        self,
        strength: ArrayLike,
        groups: Int[ArrayLike, " p"],
        weights: ArrayLike = 1.0,
        *,
        num_groups: int | None = None,
    ):
        require_nonnegative(strength, "strength")
        require_nonnegative(weights, "weights")
        known = None if isinstance(groups, jax.core.Tracer) else np.asarray(groups)
        if known is None:
            if num_groups is None:
                raise ValueError("groups are traced; pass num_groups, or build the penalty outside the transformation.")
        else:
            if known.ndim != 1 or not np.issubdtype(known.dtype, np.integer) or np.any(known < 0):
                raise ValueError("groups must be a vector of integer ids from 0, one a coordinate.")
            num_groups = max(int(known.max(initial=-1)) + 1, num_groups or 0)
        self.strength = _tree.setting(strength)
        self.weights = _tree.setting(weights)
        self.groups = jnp.asarray(groups)
        self.num_groups = num_groups
        self.largest_group = None if known is None else int(np.bincount(known).max(initial=0))
        if self.weights.ndim and self.weights.shape != (num_groups,):
            raise ValueError(
                f"weights must be a scalar or one a group, got shape {self.weights.shape} for {num_groups} groups."
            )

    def _norms(self, x: Float[Array, "p ..."]) -> Float[Array, " groups"]:
        raise NotImplementedError

    def _dual_norms(self, x: Float[Array, "p ..."]) -> Float[Array, " groups"]:
        raise NotImplementedError

    def _ids(self, x: Float[Array, "p ..."]) -> Int[Array, "p ..."]:
        if x.shape[:1] != self.groups.shape:
            raise ValueError(f"x has shape {x.shape} but groups {self.groups.shape}; pass one group id a coordinate.")
        return ids_like(self.groups, x)

    def _bounds(self, x: Array) -> Float[Array, " groups"]:
        strength, weights = (setting.astype(x.dtype) for setting in (self.strength, self.weights))
        return jnp.broadcast_to(strength * weights, (self.num_groups,))

    def value(self, x: Float[Array, "p ..."]) -> Scalar:
        return jnp.sum(self._bounds(x) * self._norms(x))

    def conjugate(self, dual: Float[Array, "p ..."]) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(dual.dtype).eps), dual)

    def dual_scale(self, dual: Float[Array, "p ..."]) -> Scalar:
        return jnp.min(shrink_ratio(self._bounds(dual), self._dual_norms(dual)), initial=1)

    def support(self, x: Float[Array, "p ..."]) -> Array:
        return (self._norms(x) > 0)[self._ids(x)]

    def critical_strength(self, gradient_at_zero: Float[Array, "p ..."]) -> Scalar:
        """Smallest strength for which zero solves `f + g`; infinite if a group of weight zero pulls away from zero."""
        norms = self._dual_norms(gradient_at_zero)
        weights = _tree.match(self.weights, norms)
        weighted = weights > 0
        ratios = jnp.where(weighted, norms / jnp.where(weighted, weights, 1), jnp.where(norms > 0, jnp.inf, 0))
        return jnp.max(ratios, initial=0)
