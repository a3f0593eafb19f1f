from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from .._types import Scalar
from ._as_operator import as_operator
from ._base import AbstractOperator


class WithIntercept(AbstractOperator):
    """A design (n, p) with one more column of a constant, (n, p + 1); the design is not copied.

    The last parameter times `scale` is the intercept; a scale near the norm of a row balances the curvatures.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> print(operators.WithIntercept(jnp.eye(2)).matvec(jnp.array([1.0, 2.0, 10.0])))
        [11. 12.]
    """

    design: AbstractOperator
    scale: Scalar

    def __init__(self, design: Any, scale: ArrayLike = 1.0):
        self.design = as_operator(design)
        self.scale = _tree.setting(scale).astype(self.design.dtype)

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        return _plus(self.design.matvec(x[:-1]), self.scale * x[-1])

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        return jnp.concatenate([self.design.rmatvec(x), self.scale * jnp.sum(x, 0, keepdims=True)])

    def columns(self, indices: Int[Array, " k"]) -> Float[Array, "n k"]:
        last = self.design.shape[1]
        columns = self.design.columns(jnp.minimum(indices, last - 1))
        return jnp.where((indices == last)[None, :], self.scale, columns)

    def rows(self, indices: Int[Array, " m"]) -> Float[Array, "m p"]:
        rows = self.design.rows(indices)
        return jnp.concatenate([rows, jnp.full((rows.shape[0], 1), self.scale)], 1)

    def rows_matvec(self, indices: Int[Array, " m"], x: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
        return _plus(self.design.rows_matvec(indices, x[:-1]), self.scale * x[-1])

    def rows_rmatvec(self, indices: Int[Array, " m"], x: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        return jnp.concatenate([self.design.rows_rmatvec(indices, x), self.scale * jnp.sum(x, 0, keepdims=True)])

    def squared_row_norms(self) -> Float[Array, " n"]:
        return self.design.squared_row_norms() + self.scale**2

    def squared_column_norms(self) -> Float[Array, " p"]:
        constant = self.scale**2 * self.design.shape[0]
        return jnp.append(self.design.squared_column_norms(), constant)

    @property
    def shape(self) -> tuple[int, int]:
        return self.design.shape[0], self.design.shape[1] + 1

    @property
    def dtype(self) -> Any:
        return self.design.dtype


def _plus(rows: Array, constant: Array) -> Array:
    return rows + jnp.broadcast_to(constant, rows.shape)
