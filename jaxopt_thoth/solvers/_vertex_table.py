"""The convex combination of vertices that away steps take apart."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _tree
from .._types import BoolScalar, IntScalar, Params, Scalar


class VertexTable(eqx.Module):
    """A point as the mean of at most `k` atoms; slots of weight zero are free.

    Attributes:
        atoms: a pytree like the point, with a leading axis of slots.
        weights: their weights, which add up to one.
        num_merged: how many times two atoms became one for want of a slot.
    """

    atoms: Params
    weights: Float[Array, " k"]
    num_merged: IntScalar

    @property
    def is_used(self) -> Bool[Array, " k"]:
        return self.weights > 0

    def atom(self, index: Array) -> Params:
        return jax.tree.map(lambda a: a[index], self.atoms)

    def point(self) -> Params:
        return jax.tree.map(lambda a: _contract(self.weights, a), self.atoms)

    def scores(self, gradient: Params) -> Float[Array, " k"]:
        """Inner product of each atom with the gradient."""
        parts = jax.tree.map(lambda a, g: _rows(a, g).astype(self.weights.dtype), self.atoms, gradient)
        return jax.tree.reduce(jnp.add, parts)

    def find(self, vertex: Params) -> tuple[BoolScalar, IntScalar]:
        """Whether the vertex is an atom, up to rounding, and which."""
        gaps = jax.tree.map(lambda a, v: jnp.max(jnp.abs(a - v[None]).reshape(a.shape[0], -1), -1), self.atoms, vertex)
        sizes = jax.tree.map(lambda v: jnp.max(jnp.abs(v)), vertex)
        near = jax.tree.map(lambda gap, size: gap <= 16 * float(jnp.finfo(gap.dtype).eps) * size, gaps, sizes)
        same = self.is_used & jax.tree.reduce(jnp.logical_and, near)
        return jnp.any(same), jnp.argmax(same)

    def admit(self, vertex: Params, wanted: BoolScalar) -> tuple["VertexTable", IntScalar]:
        """The table with a slot for the vertex, still of weight zero if it is new, where it is `wanted`.

        In a full table the two lightest atoms become their mean, which leaves the point where it is.
        """
        found, place = self.find(vertex)
        is_full = jnp.all(self.is_used)
        merges = wanted & ~found & is_full
        slots = jnp.arange(self.weights.size)
        first = jnp.argmin(self.weights)
        second = jnp.argmin(jnp.where(slots == first, jnp.inf, self.weights))
        both = self.weights[first] + self.weights[second]
        share = self.weights[first] / jnp.where(both > 0, both, 1)
        place = jnp.where(found, place, first)

        def write(a: Array, v: Array) -> Array:
            mean = share.astype(a.dtype) * a[first] + (1 - share).astype(a.dtype) * a[second]
            a = a.at[second].set(jnp.where(merges, mean, a[second]))
            return a.at[place].set(jnp.where(wanted & ~found, v, a[place]))

        merged = jnp.where(slots == second, both, jnp.where(slots == first, 0, self.weights))
        return VertexTable(
            atoms=jax.tree.map(write, self.atoms, vertex),
            weights=jnp.where(merges, merged, self.weights),
            num_merged=self.num_merged + merges.astype(jnp.int32),
        ), place


def start_table(params: Params, size: int) -> VertexTable:
    """The table of one atom, the starting point, and `size - 1` free slots."""
    dtype = _tree.dtype_of(params)
    weights = jnp.zeros(size, dtype).at[0].set(1)
    atoms = jax.tree.map(lambda x: jnp.zeros((size, *x.shape), x.dtype).at[0].set(x), params)
    return VertexTable(atoms, weights, jnp.zeros((), jnp.int32))


def _contract(weights: Array, atoms: Array) -> Any:
    return jnp.tensordot(weights.astype(atoms.dtype), atoms, 1, precision=jax.lax.Precision.HIGHEST)


def _rows(atoms: Array, gradient: Array) -> Scalar:
    flat = atoms.reshape(atoms.shape[0], -1)
    return jnp.matmul(flat, gradient.reshape(-1), precision=jax.lax.Precision.HIGHEST)
