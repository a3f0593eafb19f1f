from typing import Any

import numpy as np
import scipy.sparse

from ..operators import AbstractOperator, Standardized
from ._engine import precision


def preprocess(X: Any, centering: bool = False, normalize: bool = True, columns: bool = False) -> Any:
    """Center the rows or the columns of a matrix, and divide them by their Euclidean norms.

    Where a sparse matrix has its columns centered, the result is an operator that never makes it dense; the estimators
    take it as it is. Rows and columns of norm zero stay.

    Args:
        X: (n, p), dense or SciPy sparse; it is not changed.
        centering: whether to take off the mean.
        normalize: whether to divide by the norm.
        columns: whether columns are meant; else rows.

    Raises:
        TypeError: if X is neither a dense nor a SciPy sparse matrix.
        ValueError: if the rows of a sparse matrix are to be centered.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import preprocess
        >>> preprocess(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    if scipy.sparse.issparse(X):
        return _sparse(X.tocsr(), centering, normalize, columns)
    if isinstance(X, AbstractOperator):
        raise TypeError(
            "X must be a dense or a SciPy sparse matrix, got an operator; preprocess what it was made from."
        )
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X must have two axes (n, p), got shape {X.shape}.")
    X = X if np.issubdtype(X.dtype, np.floating) else X.astype(np.float64)
    axis = 0 if columns else 1
    if centering:
        X = X - X.mean(axis, keepdims=True)
    return X / _nonzero(np.sqrt(np.sum(X**2, axis, keepdims=True))) if normalize else X.copy()


def _sparse(X: Any, centering: bool, normalize: bool, columns: bool) -> Any:
    if centering and not columns:
        raise ValueError("The rows of a sparse matrix cannot be centered without making it dense; pass columns=True.")
    if not np.issubdtype(X.dtype, np.floating):
        X = X.astype(np.float64)
    axis = 0 if columns else 1
    squares = np.asarray(X.multiply(X).sum(axis)).reshape(-1)
    if not centering:
        if not normalize:
            return X.copy()
        factors = scipy.sparse.diags((1 / _nonzero(np.sqrt(squares))).astype(X.dtype))
        return (X @ factors if columns else factors @ X).tocsr()
    means = np.asarray(X.mean(0)).reshape(-1)
    spread = np.maximum(squares - X.shape[0] * means**2, 0)
    # A deviation that is rounding of the mean is none.
    spread = np.where(spread > 64 * np.finfo(X.dtype).eps * squares, spread, 0)
    scales = _nonzero(np.sqrt(spread)) if normalize else None
    with precision(X.dtype):
        return Standardized(X, means.astype(X.dtype), None if scales is None else scales.astype(X.dtype))


def _nonzero(norms: np.ndarray) -> np.ndarray:
    return np.where(norms > 0, norms, 1)
