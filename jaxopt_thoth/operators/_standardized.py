from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from ._as_operator import as_operator
from ._base import AbstractOperator
from ._dense import DenseOperator
from ._row_scaled import RowScaled
from ._sparse import SparseOperator


class Standardized(AbstractOperator):
    """A design (n, p) with its columns centered and scaled, `(X - 1 means') diag(1 / scales)`, never made dense.

    Args:
        design: anything that `as_operator` takes.
        means: what is taken off each column, (p,) or a number; None leaves the columns where they are.
        scales: what divides each column, (p,) or a number, 1 where it is zero; None leaves them their size.

    Raises:
        ValueError: if a shape does not fit the columns.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> design = operators.Standardized.of(jnp.array([[1.0, 7.0], [3.0, 7.0]]))
        >>> design.rows(jnp.arange(2)).tolist()  # a constant column keeps its scale
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    design: AbstractOperator
    means: Float[Array, " p"]
    scales: Float[Array, " p"]

    def __init__(self, design: Any, means: ArrayLike | None = None, scales: ArrayLike | None = None):
        self.design = as_operator(design)
        width = self.design.shape[1]
        as_row = lambda value, name: _row(value, name, width, self.design.dtype)
        self.means = as_row(0 if means is None else means, "means")
        divisors = as_row(1 if scales is None else scales, "scales")
        self.scales = jnp.where(divisors > 0, divisors, 1)

    @classmethod
    def of(cls, design: Any, weights: ArrayLike | None = None) -> "Standardized":
        """The design with columns of mean 0 and mean square 1, in the mean over rows or weighted rows (n,).

        A column whose deviation is rounding of its mean counts as constant, and keeps its scale.
        """
        operator = as_operator(design)
        weights = jnp.ones(operator.shape[0]) if weights is None else jnp.asarray(weights)
        share = (weights / jnp.sum(weights)).astype(operator.dtype)
        means = operator.rmatvec(share)
        variances = _variances(operator, means, share)
        rounding = (16 * float(jnp.finfo(operator.dtype).eps) * means) ** 2
        return cls(operator, means, _tree.safe_sqrt(jnp.where(variances > rounding, variances, 0)))

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        x = self._divided(x)
        return self._shifted(self.design.matvec(x), x)

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        return self._pulled(self.design.rmatvec(x), x)

    def columns(self, indices: Int[Array, " k"]) -> Float[Array, "n k"]:
        return (self.design.columns(indices) - self.means[indices][None, :]) / self.scales[indices][None, :]

    def rows(self, indices: Int[Array, " m"]) -> Float[Array, "m p"]:
        return (self.design.rows(indices) - self.means[None, :]) / self.scales[None, :]

    def rows_matvec(self, indices: Int[Array, " m"], x: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
        x = self._divided(x)
        return self._shifted(self.design.rows_matvec(indices, x), x)

    def rows_rmatvec(self, indices: Int[Array, " m"], x: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        return self._pulled(self.design.rows_rmatvec(indices, x), x)

    def squared_row_norms(self) -> Float[Array, " n"]:
        if isinstance(self.design, DenseOperator):
            return jnp.sum(self.rows(jnp.arange(self.shape[0])) ** 2, 1)
        if not isinstance(self.design, SparseOperator):
            return super().squared_row_norms()
        values = self.design.values / self.scales[self.design.column_indices]
        own = eqx.tree_at(lambda d: d.values, self.design, values).squared_row_norms()
        shift = self.means / self.scales
        return jax.nn.relu(own - 2 * self.design.matvec(shift / self.scales) + jnp.sum(shift**2))

    def squared_column_norms(self) -> Float[Array, " p"]:
        n = self.shape[0]
        share = jnp.full((n,), 1 / n, self.dtype)
        actual = self.design.rmatvec(share)
        return n * (_variances(self.design, actual, share) + (actual - self.means) ** 2) / self.scales**2

    def _divided(self, x: Array) -> Array:
        return x / _tree.along_rows(self.scales, x)

    def _shifted(self, image: Array, divided: Array) -> Array:
        shift = jnp.matmul(self.means, divided, precision=jax.lax.Precision.HIGHEST)
        return image - jnp.broadcast_to(shift, image.shape)

    def _pulled(self, pulled: Array, x: Array) -> Array:
        return (pulled - _tree.along_rows(self.means, pulled) * jnp.sum(x, 0, keepdims=True)) / _tree.along_rows(
            self.scales, pulled
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.design.shape

    @property
    def dtype(self) -> Any:
        return self.design.dtype


def _variances(operator: AbstractOperator, means: Array, share: Array) -> Float[Array, " p"]:
    """Mean square of each column about its mean, in two passes, so that a large mean does not drown it."""
    if isinstance(operator, DenseOperator):
        return jnp.sum(share[:, None] * (operator.matrix - means[None, :]) ** 2, 0)
    if isinstance(operator, SparseOperator):
        values, present = operator.merged()
        columns = operator.column_indices
        weights = jnp.where(present, share[operator.row_indices], 0)
        sums = lambda terms: jax.ops.segment_sum(terms, columns, operator.num_columns)
        # The zeros of a column are as far off as its mean.
        zeros = jax.nn.relu(1 - sums(weights))
        return sums(weights * (values - means[columns]) ** 2) + zeros * means**2
    squares = RowScaled(operator, _tree.safe_sqrt(share)).squared_column_norms()
    return jax.nn.relu(squares - means**2)


def _row(value: ArrayLike, name: str, width: int, dtype: Any) -> Array:
    array = jnp.asarray(value).astype(dtype)
    if array.shape not in ((), (width,)):
        raise ValueError(
            f"{name} must be a number or have shape ({width},), one a column of design, got {array.shape}."
        )
    return jnp.broadcast_to(array, (width,))
