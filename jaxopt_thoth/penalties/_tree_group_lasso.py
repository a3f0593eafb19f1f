import functools
from collections.abc import Sequence
from typing import Literal

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
from ._groups import (
    clip_groups,
    group_norms,
    group_peaks,
    ids_like,
    least_on_cubes,
    least_on_spheres,
    shrink_groups,
)
from ._parts import at_most, indicator, shrink_ratio


Norm = Literal["l2", "linf"]
# Ids of the groups of each coordinate, a row a depth, and the weight or threshold of each id.
Layers = tuple[Int[Array, "depth p"], Float[Array, "depth width"]]


class TreeGroupLasso(AbstractPenalty):
    """Sum of the norms of groups that form a tree, `strength * sum_g weights_g |x_g|` over nested or disjoint groups.

    A group that is zero takes the groups inside it along, so that supports are grown from the root. `x` is a vector
    (p,), or an array (p, ...) whose rows go with their coordinate; `groups` is a sequence of sequences of coordinates,
    in any order; coordinates in no group are left alone. `weights` is a scalar or one number a group; `norm` is "l2" or
    "linf". The prox is that of each group in turn, from the leaves to the root. Raises `ValueError` for two groups that
    overlap although none contains the other, coordinates that are not integers from 0 or repeat inside a group, known
    negative settings, an unknown norm, and an `x` shorter than the groups reach.

    Jenatton, Mairal, Obozinski and Bach, "Proximal methods for hierarchical sparse coding", 2011.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalty = penalties.TreeGroupLasso(1.0, groups=[[0, 1, 2], [1, 2], [2]], norm="linf")
        >>> penalty.prox(jnp.array([4.0, 3.0, 0.5]), step=1.0).tolist()
        [3.0, 2.0, 0.0]
    """

    strength: Scalar
    weights: Float[Array, "..."]
    ids: Int[Array, "depth p"]
    slots: Int[Array, "depth width"]
    num_groups: int = eqx.field(static=True)
    norm: Norm = eqx.field(static=True)

    def __init__(
        self,
        strength: ArrayLike,
        groups: Sequence[Int[ArrayLike, " members"]],
        weights: ArrayLike = 1.0,
        norm: Norm = "l2",
    ):
        require_nonnegative(strength, "strength")
        require_nonnegative(weights, "weights")
        if norm not in ("l2", "linf"):
            raise ValueError(f'norm must be "l2" or "linf", got {norm!r}.')
        self.strength = _tree.setting(strength)
        self.weights = _tree.setting(weights)
        ids, slots = _layers([np.asarray(group) for group in groups])
        self.ids, self.slots = jnp.asarray(ids), jnp.asarray(slots)
        self.num_groups = len(groups)
        self.norm = norm
        if self.weights.ndim and self.weights.shape != (self.num_groups,):
            raise ValueError(
                f"weights must be a scalar or one a group, got shape {self.weights.shape} for {self.num_groups} groups."
            )

    def _layers(self, x: Float[Array, "p ..."]) -> Layers:
        """The tree by depth, leaves first, at strength one; coordinates in no group have the last id, of weight 0."""
        missing = (x.shape[0] if x.ndim else 0) - self.ids.shape[1]
        if missing < 0:
            raise ValueError(f"x has shape {x.shape} but groups reach {self.ids.shape[1]} entries; pass a longer x.")
        ids = jnp.pad(self.ids, ((0, 0), (0, missing)), constant_values=self.slots.shape[1] - 1)
        weights = jnp.broadcast_to(self.weights.astype(x.dtype), (self.num_groups,))
        return ids, jnp.append(weights, jnp.zeros((), x.dtype))[self.slots]

    def _scaled_layers(self, x: Float[Array, "p ..."], step: ArrayLike = 1.0) -> Layers:
        ids, weights = self._layers(x)
        return ids, weights * self.strength.astype(x.dtype) * jnp.asarray(step).astype(x.dtype)

    def value(self, x: Float[Array, "p ..."]) -> Scalar:
        return _value(x, self._scaled_layers(x), self.norm)

    def prox(self, x: Float[Array, "p ..."], step: ArrayLike) -> Float[Array, "p ..."]:
        return _prox(x, self._scaled_layers(x, step), self.norm)

    def conjugate(self, dual: Float[Array, "p ..."]) -> Scalar:
        return indicator(at_most(_dual_norm(dual, self._layers(dual), self.norm), self.strength), dual)

    def dual_scale(self, dual: Float[Array, "p ..."]) -> Scalar:
        return shrink_ratio(self.strength, _dual_norm(dual, self._layers(dual), self.norm))

    def minimal_subgradient(self, x: Float[Array, "p ..."], gradient: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
        least = least_on_spheres if self.norm == "l2" else least_on_cubes

        def absorb(pull: Array, layer: Layers) -> tuple[Array, None]:
            ids, bounds = layer
            return least(x, pull, ids_like(ids, x), bounds), None

        return jax.lax.scan(absorb, gradient, self._scaled_layers(x))[0]

    def support(self, x: Float[Array, "p ..."]) -> Array:
        def dead(layer: Layers) -> Array:
            ids, bounds = layer
            spread = ids_like(ids, x)
            return ((group_peaks(x, spread, bounds.size) == 0) & (bounds > 0))[spread]

        return ~jnp.any(jax.vmap(dead)(self._scaled_layers(x)), 0)

    def critical_strength(self, gradient_at_zero: Float[Array, "p ..."]) -> Scalar:
        """Smallest strength for which zero solves `f + g`; infinite if an entry of no weight is pulled from zero."""
        return _dual_norm(gradient_at_zero, self._layers(gradient_at_zero), self.norm)


def _layers(groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ids (depth, p) of the groups of each coordinate, deepest first, and the group of each id (depth, width)."""
    for i, group in enumerate(groups):
        proper = group.ndim == 1 and (group.size == 0 or np.issubdtype(group.dtype, np.integer))
        if not proper or np.any(group < 0) or np.unique(group).size != group.size:
            raise ValueError(f"groups must be vectors of distinct coordinates from 0, but group {i} is {group}.")
    size = max((int(group.max(initial=-1)) + 1 for group in groups), default=0)
    innermost, depths = np.full(size, -1), np.zeros(len(groups), int)
    # From large to small: whatever contains a group has been placed before it.
    for i in sorted(range(len(groups)), key=lambda i: -groups[i].size):
        members = groups[i].astype(int)
        parents = np.unique(innermost[members])
        if parents.size > 1:
            raise ValueError(
                f"groups must be nested or disjoint, but group {parents[-1]} overlaps group {i} and does not hold it;"
                " drop the coordinates that they share from one."
            )
        if parents.size and parents[0] >= 0:
            depths[i] = depths[parents[0]] + 1
        innermost[members] = i
    depth = int(depths.max(initial=-1)) + 1
    width = int(np.bincount(depths).max(initial=0)) + 1
    ids, slots = np.full((depth, size), width - 1), np.full((depth, width), len(groups))
    counts = np.zeros(depth, int)
    for i, group in enumerate(groups):
        row = depth - 1 - depths[i]
        ids[row, group.astype(int)] = counts[row]
        slots[row, counts[row]] = i
        counts[row] += 1
    return ids, slots


def _value(x: Array, layers: Layers, norm: Norm) -> Scalar:
    norms = group_norms if norm == "l2" else group_peaks
    terms = jax.vmap(lambda ids, bounds: jnp.sum(bounds * norms(x, ids_like(ids, x), bounds.size)))
    return jnp.sum(terms(*layers))


def _prox(x: Array, layers: Layers, norm: Norm) -> Array:
    shrink = shrink_groups if norm == "l2" else clip_groups
    return jax.lax.scan(lambda z, layer: (shrink(z, ids_like(layer[0], z), layer[1]), None), x, layers)[0]


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@functools.partial(jax.jit, static_argnames="norm")
def _dual_norm(dual: Array, layers: Layers, norm: Norm) -> Scalar:
    """Reciprocal of the largest factor for which the prox of `factor * dual` is zero.

    The distance of `factor * dual` to the dual ball is the norm of that prox, convex in the factor: Newton's method
    comes down from `norm(dual) / |dual|^2`, which is never below the root.
    """
    peak = jnp.max(jnp.abs(dual), initial=0)
    some = peak > 0
    unit = jnp.where(some, peak, 1)
    u = dual / unit

    def newton(factor: Array) -> Array:
        rest = _prox(factor * u, layers, norm)
        slope = _tree.vdot(u, rest)
        falls = slope > 0
        return jnp.maximum(factor - jnp.where(falls, _tree.squared_norm(rest) / jnp.where(falls, slope, 1), 0), 0)

    def falls(carry: tuple[Array, Array, Array]) -> Array:
        old, new, count = carry
        return (new < old) & (count < 100)

    def fall(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, new, count = carry
        return new, newton(new), count + 1

    start = _value(u, layers, norm) / jnp.where(some, _tree.squared_norm(u), 1)
    _, factor, _ = while_loop(falls, fall, (start, newton(start), jnp.asarray(0)))
    covered = jnp.sum(jax.vmap(lambda ids, weights: weights[ids])(*layers), 0) > 0
    inside = jnp.all(ids_like(covered, u) | (u == 0)) & (factor > 0)
    return jnp.where(some, jnp.where(inside, unit / jnp.where(inside, factor, 1), jnp.inf), 0)
