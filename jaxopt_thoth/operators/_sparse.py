import dataclasses
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .. import _tree
from .._validate import concrete
from ._base import AbstractOperator


class SparseOperator(AbstractOperator):
    """A sparse matrix (n, p) in coordinate form, multiplied by segment sums.

    The entries are sorted by row, and a permutation sorts them by column, so that both products write in order;
    `BCOO` products scatter in the order of storage and are slower on CPU. Products with some of the rows or columns
    read their entries alone, padded to the longest row or column, unless the places of the entries are traced.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> corner = operators.SparseOperator(jnp.array([5.0]), jnp.array([0]), jnp.array([1]), (2, 2))
        >>> print(corner.matvec(jnp.array([1.0, 1.0])))
        [5. 0.]
    """

    values: Float[Array, " nnz"]
    row_indices: Int[Array, " nnz"]
    column_indices: Int[Array, " nnz"]
    by_column: Int[Array, " nnz"]
    row_starts: Int[Array, " n+1"]
    column_starts: Int[Array, " p+1"]
    num_rows: int = eqx.field(static=True)
    num_columns: int = eqx.field(static=True)
    longest_row: int | None = eqx.field(static=True)
    longest_column: int | None = eqx.field(static=True)

    def __init__(self, values: Array, rows: Array, cols: Array, shape: tuple[int, int]):
        if not jnp.issubdtype(values.dtype, jnp.inexact):
            values = values.astype(jnp.result_type(float))
        by_row = jnp.lexsort((cols, rows))
        self.values, self.row_indices, self.column_indices = values[by_row], rows[by_row], cols[by_row]
        self.by_column = jnp.lexsort((self.row_indices, self.column_indices))
        self.num_rows, self.num_columns = shape
        self.row_starts, self.longest_row = _starts(self.row_indices, shape[0])
        self.column_starts, self.longest_column = _starts(self.column_indices[self.by_column], shape[1])

    @classmethod
    def of_sorted(
        cls,
        values: Array,
        indices: tuple[Array, Array],
        by_column: Array,
        starts: tuple[Array, Array],
        longest: tuple[int, int],
    ) -> Self:
        """The matrix of entries in order already, for which nothing is sorted or counted.

        Args:
            values: the entries, row by row, (nnz,).
            indices: row and column of each.
            by_column: the permutation that puts the entries column by column.
            starts: where the entries of each row begin, (n + 1,), and those of each column in that permutation.
            longest: bounds of the entries of a row and of a column that are not zero; those come first in each.
        """
        self = object.__new__(cls)
        parts = (values, *indices, by_column, *starts, len(starts[0]) - 1, len(starts[1]) - 1, *longest)
        for field, part in zip(dataclasses.fields(cls), parts, strict=True):
            object.__setattr__(self, field.name, part)
        return self

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        terms = _scale_rows(self.values, x[self.column_indices])
        return jax.ops.segment_sum(terms, self.row_indices, self.num_rows, indices_are_sorted=True)

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        terms = _scale_rows(self.values[self.by_column], x[self.row_indices[self.by_column]])
        return jax.ops.segment_sum(
            terms, self.column_indices[self.by_column], self.num_columns, indices_are_sorted=True
        )

    def columns(self, indices: Int[Array, " k"]) -> Float[Array, "n k"]:
        if self.longest_column is None:
            return super().columns(indices)
        places, inside = _entries(self.column_starts, indices, self.longest_column)
        places = self.by_column[places]
        which = jnp.broadcast_to(jnp.arange(len(indices), dtype=self.row_indices.dtype)[:, None], places.shape)
        values = jnp.where(inside, self.values[places], 0)
        return jnp.zeros((self.num_rows, len(indices)), self.dtype).at[self.row_indices[places], which].add(values)

    def rows(self, indices: Int[Array, " m"]) -> Float[Array, "m p"]:
        if self.longest_row is None:
            return super().rows(indices)
        values, columns = self._row_entries(indices, self.longest_row)
        which = jnp.broadcast_to(jnp.arange(len(indices), dtype=columns.dtype)[:, None], columns.shape)
        return jnp.zeros((len(indices), self.num_columns), self.dtype).at[which, columns].add(values)

    def rows_matvec(self, indices: Int[Array, " m"], x: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
        if self.longest_row is None:
            return super().rows_matvec(indices, x)
        values, columns = self._row_entries(indices, self.longest_row)
        return jnp.sum(_scale_rows(values, x[columns]), 1)

    def rows_rmatvec(self, indices: Int[Array, " m"], x: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        if self.longest_row is None:
            return super().rows_rmatvec(indices, x)
        values, columns = self._row_entries(indices, self.longest_row)
        terms = _scale_rows(values, jnp.broadcast_to(x[:, None], (*values.shape, *x.shape[1:])))
        return jnp.zeros((self.num_columns, *x.shape[1:]), terms.dtype).at[columns].add(terms)

    def squared_row_norms(self) -> Float[Array, " n"]:
        return jax.ops.segment_sum(self.merged()[0] ** 2, self.row_indices, self.num_rows, indices_are_sorted=True)

    def squared_column_norms(self) -> Float[Array, " p"]:
        return jax.ops.segment_sum(self.merged()[0] ** 2, self.column_indices, self.num_columns)

    def _row_entries(self, indices: Array, longest: int) -> tuple[Float[Array, "m length"], Int[Array, "m length"]]:
        places, inside = _entries(self.row_starts, indices, longest)
        return jnp.where(inside, self.values[places], 0), self.column_indices[places]

    def merged(self) -> tuple[Float[Array, " nnz"], Bool[Array, " nnz"]]:
        """The values with the parts of an entry stored more than once added up at the first, and which come first."""
        rows, columns = self.row_indices, self.column_indices
        first = jnp.ones(rows.shape, bool).at[1:].set((rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1]))
        entry = jnp.cumsum(first) - 1
        entries = jax.ops.segment_sum(self.values, entry, rows.shape[0], indices_are_sorted=True)
        return jnp.where(first, entries[entry], 0), first

    @property
    def shape(self) -> tuple[int, int]:
        return self.num_rows, self.num_columns

    @property
    def dtype(self) -> Any:
        return self.values.dtype


def _starts(sorted_indices: Array, count: int) -> tuple[Int[Array, " count+1"], int | None]:
    """Where the entries of each index begin, and the largest number of them where it is known."""
    starts = jnp.searchsorted(sorted_indices, jnp.arange(count + 1, dtype=sorted_indices.dtype))
    known = concrete(starts)
    return starts, None if known is None else int(np.max(np.diff(known), initial=0))


def _entries(
    starts: Int[Array, " count+1"], indices: Int[Array, " m"], longest: int
) -> tuple[Int[Array, "m length"], Bool[Array, "m length"]]:
    """Places of the entries of some rows (or columns), padded to the longest, and which of them are no padding."""
    places = starts[indices][:, None] + jnp.arange(longest, dtype=starts.dtype)[None, :]
    inside = places < starts[indices + 1][:, None]
    return jnp.where(inside, places, 0), inside


def _scale_rows(values: Array, x: Array) -> Array:
    return _tree.along_rows(values, x) * x
