"""The columns of a working set, its weighted Gram matrix, and the products with both."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import IntScalar
from ..operators import AbstractOperator, DenseOperator, RowScaled, SparseOperator, Standardized, WithIntercept


# Columns are gathered, and the Gram matrix filled, by so many at a time.
TILE = 32
# So many rows at a time make the Gram matrix of all columns.
_BLOCK = 1024

_HIGHEST = lax.Precision.HIGHEST


class AbstractColumns(eqx.Module):
    """Columns of a design in the slots of a working set; unused slots hold zeros."""

    def gathered(self, design: AbstractOperator, slots: Int[Array, " m"], first: IntScalar, stop: IntScalar) -> Self:
        """The columns with those of the tiles `first` to `stop` taken from the design."""
        raise NotImplementedError

    def combine(self, design: AbstractOperator, x: Float[Array, "m *k"]) -> Float[Array, "n *k"]:
        """The sum of the columns, each times its row of `x`."""
        raise NotImplementedError

    def correlate(self, design: AbstractOperator, u: Float[Array, "n *k"]) -> Float[Array, "m *k"]:
        """Inner products of the columns with `u`."""
        raise NotImplementedError

    def fill_gram(
        self,
        design: AbstractOperator,
        weights: Float[Array, " n"],
        gram: Float[Array, "m m"],
        first: IntScalar,
        stop: IntScalar,
    ) -> Float[Array, "m m"]:
        """The Gram matrix under `weights` with its rows and columns of the tiles `first` to `stop` computed."""
        raise NotImplementedError


class DenseColumns(AbstractColumns):
    """Columns as the rows of an array."""

    rows: Float[Array, "m n"]

    def gathered(self, design, slots, first, stop):
        def gather(carry):
            tile, rows = carry
            chosen = lax.dynamic_slice_in_dim(slots, tile * TILE, TILE)
            inside = chosen < design.shape[1]
            found = design.columns(jnp.where(inside, chosen, 0)).T
            found = jnp.where(inside[:, None], found, 0)
            return tile + 1, lax.dynamic_update_slice_in_dim(rows, found, tile * TILE, 0)

        return DenseColumns(while_loop(lambda c: c[0] < stop, gather, (first, self.rows))[1])

    def combine(self, design, x):
        return jnp.matmul(*((x, self.rows) if x.ndim == 1 else (self.rows.T, x)), precision=_HIGHEST)

    def correlate(self, design, u):
        return jnp.matmul(self.rows, u, precision=_HIGHEST)

    def fill_gram(self, design, weights, gram, first, stop):
        part = lambda tile: lax.dynamic_slice_in_dim(self.rows, tile * TILE, TILE)
        weigh = lambda tile: part(tile) * weights[None, :]
        cross = lambda weighted, tile: jnp.matmul(weighted, part(tile).T, precision=_HIGHEST)
        return _fill_tiles(gram, first, stop, weigh, cross)


class SparseColumns(AbstractColumns):
    """Columns as their entries, padded to the longest column of the design."""

    places: Int[Array, "m longest"]
    values: Float[Array, "m longest"]

    def gathered(self, design, slots, first, stop):
        inside = slots < design.shape[1]
        column = jnp.where(inside, slots, 0)
        starts = design.column_starts
        at = starts[column][:, None] + jnp.arange(self.places.shape[1], dtype=starts.dtype)[None, :]
        counts = inside[:, None] & (at < starts[column + 1][:, None])
        at = design.by_column[jnp.where(counts, at, 0)]
        return SparseColumns(
            jnp.where(counts, design.row_indices[at], 0).astype(self.places.dtype),
            jnp.where(counts, design.values[at], 0),
        )

    def combine(self, design, x):
        values = self.values.reshape(*self.values.shape, *[1] * (x.ndim - 1))
        terms = values * x[:, None]
        return jnp.zeros((design.shape[0], *x.shape[1:]), terms.dtype).at[self.places].add(terms)

    def correlate(self, design, u):
        values = self.values.reshape(*self.values.shape, *[1] * (u.ndim - 1))
        return jnp.sum(values * u[self.places], 1)

    def fill_gram(self, design, weights, gram, first, stop):
        part = lambda array, tile: lax.dynamic_slice_in_dim(array, tile * TILE, TILE)

        def weigh(tile):
            places = part(self.places, tile)
            terms = part(self.values, tile) * weights[places]
            which = jnp.broadcast_to(jnp.arange(TILE)[:, None], places.shape)
            return jnp.zeros((design.shape[0], TILE), terms.dtype).at[places, which].add(terms)

        def cross(weighted, tile):
            values = part(self.values, tile)
            return jnp.einsum("jl,jli->ij", values, weighted[part(self.places, tile)], precision=_HIGHEST)

        return _fill_tiles(gram, first, stop, weigh, cross)


class AllColumns(AbstractColumns):
    """All columns of a design of few of them, in their order."""

    def gathered(self, design, slots, first, stop):
        return self

    def combine(self, design, x):
        return design.matvec(x)

    def correlate(self, design, u):
        return design.rmatvec(u)

    def fill_gram(self, design, weights, gram, first, stop):
        def compute():
            if isinstance(design, DenseOperator):
                # By rows, neither factor leaves the cache of a CPU.
                return lax.platform_dependent(
                    design.matrix,
                    weights,
                    cpu=lambda matrix, weights: _gram_by_rows(DenseOperator(matrix), weights),
                    default=lambda matrix, weights: jnp.matmul(
                        (matrix * weights[:, None]).T, matrix, precision=_HIGHEST
                    ),
                )
            if _has_rows(design):
                return _gram_by_rows(design, weights)
            products = lambda some: design.rmatvec(design.columns(some) * weights[:, None])
            return lax.map(products, _tiles(count)).swapaxes(0, 1).reshape(count, -1)[:, :count]

        count = design.shape[1]

        return lax.cond(first < stop, compute, lambda: gram)


def no_columns(design: AbstractOperator, size: int, everything: bool) -> AbstractColumns:
    """Empty slots."""
    if everything:
        return AllColumns()
    if isinstance(design, SparseOperator) and design.longest_column is not None:
        longest = max(design.longest_column, 1)
        return SparseColumns(jnp.zeros((size, longest), jnp.int32), jnp.zeros((size, longest), design.dtype))
    return DenseColumns(jnp.zeros((size, design.shape[0]), design.dtype))


def squared_column_norms(design: AbstractOperator, weights: Float[Array, " n"] | None) -> Float[Array, " p"]:
    """Weighted squared norms of the columns; means over the rows where there are no weights."""
    count = design.shape[1]
    if isinstance(design, DenseOperator):
        shares = jnp.full(design.shape[0], 1 / design.shape[0], design.dtype) if weights is None else weights
        add = lambda total, row: (total + row[1] * row[0] ** 2, None)
        zeros = jnp.zeros(count, design.dtype)
        # On a CPU XLA reduces over rows twenty times slower than it adds up one row after the other.
        return lax.platform_dependent(
            design.matrix,
            shares,
            cpu=lambda matrix, shares: lax.scan(add, zeros, (matrix, shares))[0],
            default=lambda matrix, shares: shares @ matrix**2,
        )
    if weights is None:
        return design.squared_column_norms() / design.shape[0]
    factors = _tree.safe_sqrt(weights)
    if isinstance(design, SparseOperator):
        values = design.values * factors[design.row_indices]
        return eqx.tree_at(lambda a: a.values, design, values).squared_column_norms()
    return RowScaled(design, factors).squared_column_norms()


def _has_rows(design: AbstractOperator) -> bool:
    """Whether some rows cost no more than their entries."""
    if isinstance(design, WithIntercept | Standardized):
        return _has_rows(design.design)
    return isinstance(design, DenseOperator) or (isinstance(design, SparseOperator) and design.longest_row is not None)


def _gram_by_rows(design: AbstractOperator, weights: Float[Array, " n"]) -> Float[Array, "p p"]:
    n, p = design.shape
    size = min(_BLOCK, n)

    def add(gram: Array, first: Array) -> tuple[Array, None]:
        # The last block begins early, and leaves out what the one before it has seen.
        begin = jnp.minimum(first, n - size)
        taken = begin + jnp.arange(size)
        block = design.rows(taken)
        some = jnp.where(taken >= first, weights[taken], 0)
        return gram + jnp.matmul((block * some[:, None]).T, block, precision=_HIGHEST), None

    return lax.scan(add, jnp.zeros((p, p), design.dtype), jnp.arange(0, n, size))[0]


def _tiles(count: int) -> Int[Array, "tiles size"]:
    """All columns by tiles; the last column fills up the last tile."""
    return jnp.minimum(jnp.arange(-(-count // TILE) * TILE), count - 1).reshape(-1, TILE)


def _fill_tiles(gram, first, stop, weigh, cross):
    def row_of_tiles(carry):
        tile, gram = carry
        weighted = weigh(tile)

        def one(other, gram):
            found = cross(weighted, other)
            gram = lax.dynamic_update_slice(gram, found, (tile * TILE, other * TILE))
            return lax.dynamic_update_slice(gram, found.T, (other * TILE, tile * TILE))

        return tile + 1, lax.fori_loop(jnp.zeros_like(tile), tile + 1, one, gram)

    return while_loop(lambda c: c[0] < stop, row_of_tiles, (first, gram))[1]
