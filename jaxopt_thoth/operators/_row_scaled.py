from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from ._as_operator import as_operator
from ._base import AbstractOperator
from ._dense import DenseOperator


class RowScaled(AbstractOperator):
    """A matrix (n, p) whose rows are multiplied by factors (n,), `diag(factors) A`; nothing sparse is made dense.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> print(operators.RowScaled(jnp.eye(2), jnp.array([2.0, 3.0])).matvec(jnp.array([1.0, 1.0])))
        [2. 3.]
    """

    design: AbstractOperator
    factors: Float[Array, " n"]

    def __init__(self, design: Any, factors: ArrayLike):
        self.design = as_operator(design)
        self.factors = jnp.asarray(factors).astype(self.design.dtype)
        if self.factors.shape != self.design.shape[:1]:
            raise ValueError(
                f"factors must have shape ({self.design.shape[0]},), one a row of design, got {self.factors.shape}."
            )

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        return _scaled(self.factors, self.design.matvec(x))

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        return self.design.rmatvec(_scaled(self.factors, x))

    def columns(self, indices: Int[Array, " k"]) -> Float[Array, "n k"]:
        return _scaled(self.factors, self.design.columns(indices))

    def rows(self, indices: Int[Array, " m"]) -> Float[Array, "m p"]:
        return _scaled(self.factors[indices], self.design.rows(indices))

    def rows_matvec(self, indices: Int[Array, " m"], x: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
        return _scaled(self.factors[indices], self.design.rows_matvec(indices, x))

    def rows_rmatvec(self, indices: Int[Array, " m"], x: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        return self.design.rows_rmatvec(indices, _scaled(self.factors[indices], x))

    def squared_row_norms(self) -> Float[Array, " n"]:
        return self.factors**2 * self.design.squared_row_norms()

    def squared_column_norms(self) -> Float[Array, " p"]:
        if isinstance(self.design, DenseOperator):
            return jnp.sum((self.factors[:, None] * self.design.matrix) ** 2, 0)
        return super().squared_column_norms()

    @property
    def shape(self) -> tuple[int, int]:
        return self.design.shape

    @property
    def dtype(self) -> Any:
        return self.design.dtype


def _scaled(factors: Array, x: Array) -> Array:
    return _tree.along_rows(factors, x) * x
