"""Data on its way into compiled programs: of a size that others have too, so that few programs are compiled."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from ..operators import AbstractOperator, DenseOperator, SparseOperator


# Data of fewer numbers than this are padded: compiling takes longer than solving there.
_SMALL = 2**22
_LEAST_ROWS, _LEAST_COLUMNS = 256, 32


class SparseParts(eqx.Module):
    """What `SparseOperator.of_sorted` takes, as arrays of the host."""

    values: Any
    indices: tuple[Any, Any]
    by_column: Any
    starts: tuple[Any, Any]
    longest: tuple[int, int] = eqx.field(static=True)

    def operator(self) -> SparseOperator:
        return SparseOperator.of_sorted(self.values, self.indices, self.by_column, self.starts, self.longest)


def rounded_up(size: int, least: int = 1) -> int:
    """The next of eight sizes to each power of two, at least `least`."""
    if size <= least:
        return least
    unit = 2 ** max((size - 1).bit_length() - 4, 0)
    return -(-size // unit) * unit


def padded_shape(X: Any, pad_columns: bool) -> tuple[int, int]:
    """Rows and columns with the padding: none for large data, and for operators."""
    n, p = X.shape
    count = X.nnz if scipy.sparse.issparse(X) else n * p
    if isinstance(X, AbstractOperator) or count > _SMALL:
        return n, p
    return rounded_up(n, _LEAST_ROWS), rounded_up(p, _LEAST_COLUMNS) if pad_columns else p


def pad(array: Any, size: int, axis: int = 0, mode: str = "constant") -> np.ndarray:
    """The array with more entries at the end of an axis: zeros, or copies of the last (`mode="edge"`)."""
    array = np.asarray(array)
    width = [(0, 0)] * array.ndim
    width[axis] = (0, size - array.shape[axis])
    return np.pad(array, width, mode=mode) if width[axis][1] else array  # type: ignore[call-overload]


def as_parts(X: Any, shape: tuple[int, int]) -> Any:
    """A validated design as arrays of the padded shape."""
    if isinstance(X, AbstractOperator):
        return X
    if not scipy.sparse.issparse(X):
        return pad(pad(X, shape[0]), shape[1], 1)
    return _sparse_parts(X, shape)


def _sparse_parts(X: Any, shape: tuple[int, int]) -> SparseParts:
    matrix = X.tocsr()
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    n, nnz = matrix.shape[0], matrix.nnz
    size = rounded_up(nnz, _LEAST_ROWS)
    index = np.int32 if max(size, *shape) < 2**31 else np.int64
    order = scipy.sparse.csr_matrix((np.arange(nnz), matrix.indices, matrix.indptr), matrix.shape).tocsc()
    lengths = np.diff(matrix.indptr), np.diff(order.indptr)
    longest = tuple(int(2 ** int(max(length.max(initial=1) - 1, 0)).bit_length()) for length in lengths)
    rows = np.repeat(np.arange(n), lengths[0])

    # The entries of the padding are zeros at the end of the last row and column.
    def whole(array: np.ndarray, last: int) -> np.ndarray:
        return np.concatenate([array, np.full(size - nnz, last)]).astype(index)

    def starts(pointer: np.ndarray, count: int) -> np.ndarray:
        return np.concatenate([pointer[:-1], np.full(count + 1 - len(pointer), nnz), [size]]).astype(index)

    return SparseParts(
        pad(matrix.data, size),
        (whole(rows, shape[0] - 1), whole(matrix.indices, shape[1] - 1)),
        np.concatenate([order.data, np.arange(nnz, size)]).astype(index),
        (starts(matrix.indptr, shape[0]), starts(order.indptr, shape[1])),
        longest,  # type: ignore[arg-type]
    )


def as_design(parts: Any) -> AbstractOperator:
    """The operator of the parts, inside of a compiled program."""
    if isinstance(parts, AbstractOperator):
        return parts
    return parts.operator() if isinstance(parts, SparseParts) else DenseOperator(jnp.asarray(parts))
