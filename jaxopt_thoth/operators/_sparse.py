from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._base import AbstractOperator


class SparseOperator(AbstractOperator):
    """A sparse matrix (n, p) in coordinate form, multiplied by segment sums.

    The entries are sorted by row, and a permutation sorts them by column, so that both products write in order;
    `BCOO` products scatter in the order of storage and are slower on CPU.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> corner = operators.SparseOperator(jnp.array([5.0]), jnp.array([0]), jnp.array([1]), (2, 2))
        >>> print(corner.matvec(jnp.array([1.0, 1.0])))
        [5. 0.]
    """

    values: Float[Array, " nnz"]
    rows: Int[Array, " nnz"]
    cols: Int[Array, " nnz"]
    by_column: Int[Array, " nnz"]
    num_rows: int = eqx.field(static=True)
    num_columns: int = eqx.field(static=True)

    def __init__(self, values: Array, rows: Array, cols: Array, shape: tuple[int, int]):
        if not jnp.issubdtype(values.dtype, jnp.inexact):
            values = values.astype(jnp.result_type(float))
        by_row = jnp.lexsort((cols, rows))
        self.values, self.rows, self.cols = values[by_row], rows[by_row], cols[by_row]
        self.by_column = jnp.lexsort((self.rows, self.cols))
        self.num_rows, self.num_columns = shape

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        terms = _scale_rows(self.values, x[self.cols])
        return jax.ops.segment_sum(terms, self.rows, self.num_rows, indices_are_sorted=True)

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        terms = _scale_rows(self.values[self.by_column], x[self.rows[self.by_column]])
        return jax.ops.segment_sum(terms, self.cols[self.by_column], self.num_columns, indices_are_sorted=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.num_rows, self.num_columns

    @property
    def dtype(self) -> Any:
        return self.values.dtype


def _scale_rows(values: Array, x: Array) -> Array:
    return values.reshape(values.shape + (1,) * (x.ndim - 1)) * x
