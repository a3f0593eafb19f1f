from typing import Any

import jax.numpy as jnp
import lineax as lx
import scipy.sparse
from jax.experimental import sparse as jsparse

from ._base import AbstractOperator
from ._dense import DenseOperator
from ._lineax import LineaxOperator
from ._sparse import SparseOperator


def as_operator(matrix: Any) -> AbstractOperator:
    """Wrap a matrix-like object as an operator with `matvec` and `rmatvec`.

    Args:
        matrix: a dense array (n, p), a SciPy sparse matrix, a `jax.experimental.sparse.BCOO`, a lineax operator between
            flat vectors, or an operator of this module (returned as it is).

    Raises:
        ValueError: if an array does not have two axes.
        TypeError: for an object of another kind.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> print(operators.as_operator(jnp.eye(2)).matvec(jnp.array([1.0, 2.0])))
        [1. 2.]
    """
    if isinstance(matrix, AbstractOperator):
        return matrix
    if isinstance(matrix, lx.AbstractLinearOperator):
        return LineaxOperator(matrix)
    if isinstance(matrix, jsparse.BCOO):
        if matrix.ndim != 2 or matrix.n_batch or matrix.n_dense:
            raise ValueError("A BCOO design matrix must have two sparse axes, and no batch or dense axes.")
        return SparseOperator(
            matrix.data, matrix.indices[:, 0], matrix.indices[:, 1], (matrix.shape[0], matrix.shape[1])
        )
    if scipy.sparse.issparse(matrix):
        entries = matrix.tocoo()
        values, rows, cols = map(jnp.asarray, (entries.data, entries.row, entries.col))
        return SparseOperator(values, rows, cols, entries.shape)
    if not (hasattr(matrix, "shape") or isinstance(matrix, list | tuple)):
        raise TypeError(
            f"Cannot use {type(matrix).__name__} as a design matrix; pass an array, a sparse matrix or a "
            "lineax operator."
        )
    array = jnp.asarray(matrix)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError("A design matrix must be real; stack its real and imaginary parts.")
    if array.ndim != 2:
        raise ValueError(f"A design matrix must have two axes (n, p), got shape {array.shape}.")
    return DenseOperator(array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float)))
