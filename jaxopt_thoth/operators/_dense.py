from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._base import AbstractOperator


class DenseOperator(AbstractOperator):
    """A matrix (n, p) held as an array; its products run in the highest matrix precision.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> print(operators.DenseOperator(jnp.array([[1.0, 2.0]])).rmatvec(jnp.array([3.0])))
        [3. 6.]
    """

    matrix: Float[Array, "n p"]

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        return jnp.matmul(self.matrix, x, precision=jax.lax.Precision.HIGHEST)

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        # On a CPU the product with a transposed matrix takes XLA twice the time of this one.
        operands = (x, self.matrix) if x.ndim == 1 else (self.matrix.T, x)
        return jnp.matmul(*operands, precision=jax.lax.Precision.HIGHEST)

    def columns(self, indices: Array) -> Float[Array, "n k"]:
        return self.matrix[:, indices]

    def rows(self, indices: Int[Array, " m"]) -> Float[Array, "m p"]:
        return self.matrix[indices]

    def rows_matvec(self, indices: Int[Array, " m"], x: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
        return jnp.matmul(self.matrix[indices], x, precision=jax.lax.Precision.HIGHEST)

    def rows_rmatvec(self, indices: Int[Array, " m"], x: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        return DenseOperator(self.matrix[indices]).rmatvec(x)

    def squared_row_norms(self) -> Float[Array, " n"]:
        return jnp.sum(self.matrix**2, 1)

    def squared_column_norms(self) -> Float[Array, " p"]:
        return jnp.sum(self.matrix**2, 0)

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def dtype(self) -> Any:
        return self.matrix.dtype
