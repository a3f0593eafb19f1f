from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..penalties import AbstractPenalty, Box, L1, NonNegative, SeparableSum
from ..penalties._entrywise import AbstractEntrywise
from ._base import AbstractMirrorMap


class AbstractEntrywiseMap(AbstractMirrorMap):
    """A mirror map whose potential is a sum over single entries, on any pytree.

    A map gives the scalar functions below, on arrays. With them the composite step of `L1`, `NonNegative` and `Box` is
    closed: the gradient of h is increasing, so that what shrinks or clips the point does so to its dual.
    """

    def _potential(self, x: Array) -> Array:
        raise NotImplementedError

    def _to_dual(self, x: Array) -> Array:
        raise NotImplementedError

    def _from_dual(self, dual: Array) -> Array:
        raise NotImplementedError

    def _conjugate(self, dual: Array) -> Array:
        raise NotImplementedError

    def _divergence(self, x: Array, y: Array) -> Array:
        raise NotImplementedError

    def _dual_divergence(self, dual_x: Array, dual_y: Array) -> Array:
        return self._divergence(self._from_dual(dual_x), self._from_dual(dual_y))

    def _contains(self, x: Array) -> Array:
        return jnp.isfinite(x)

    def _reach(self, value: Array) -> Array:
        """The dual of a bound that may be at the edge of the domain or beyond: there minus infinity or infinity."""
        return self._to_dual(value)

    def _entry_prox(self, dual: Array, penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        """Entries of `prox_dual` for the penalties that this map alone knows; None for any other."""
        return None

    def potential(self, x: Params) -> Scalar:
        return _total(self._potential, x)

    def to_dual(self, x: Params) -> Params:
        return jax.tree.map(self._to_dual, x)

    def from_dual(self, dual: Params) -> Params:
        return jax.tree.map(self._from_dual, dual)

    def conjugate(self, dual: Params) -> Scalar:
        return _total(self._conjugate, dual)

    def divergence(self, x: Params, y: Params) -> Scalar:
        return _total(self._divergence, x, y)

    def dual_divergence(self, dual_x: Params, dual_y: Params) -> Scalar:
        return _total(self._dual_divergence, dual_x, dual_y)

    def contains(self, x: Params) -> BoolScalar:
        inside = jax.tree.map(lambda a: jnp.all(self._contains(a)), x)
        return jax.tree.reduce(jnp.logical_and, inside, jnp.asarray(True))

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
        if isinstance(penalty, AbstractEntrywise) and not jax.tree_util.all_leaves(vars(penalty).values()):
            penalty = penalty._by_leaf(dual)
        if isinstance(penalty, SeparableSum):
            return penalty._tree(lambda block, part: self.prox_dual(part, block, step), dual)
        entries = [self._closed_prox(t, penalty, step) for t in jax.tree.leaves(dual)]
        if any(t is None for t in entries):
            return None
        return jax.tree.unflatten(jax.tree.structure(dual), entries)

    def _closed_prox(self, dual: Array, penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        zero = self._reach(jnp.zeros_like(dual))
        if isinstance(penalty, L1):
            shift = _tree.match(penalty.strength, dual) * _tree.match(step, dual)
            return jnp.where(dual - shift > zero, dual - shift, jnp.where(dual + shift < zero, dual + shift, zero))
        if isinstance(penalty, NonNegative):
            return jnp.maximum(dual, zero)
        if isinstance(penalty, Box):
            lower, upper = (_full(bound, dual) for bound in (penalty.lower, penalty.upper))
            return jnp.clip(dual, self._reach(lower), self._reach(upper))
        return self._entry_prox(dual, penalty, step)


def _full(value: Any, like: Array) -> Array:
    return jnp.broadcast_to(_tree.match(value, like), like.shape)


def _total(fn: Any, *trees: Params) -> Scalar:
    sums = jax.tree.map(lambda *leaves: jnp.sum(fn(*leaves)), *trees)
    return jax.tree.reduce(jnp.add, sums, jnp.zeros((), _tree.dtype_of(trees[0])))
