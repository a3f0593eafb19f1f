from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


# So many columns or rows at a time are made dense where an operator knows its products alone.
_CHUNK = 128


class AbstractOperator(eqx.Module):
    """A linear map from R^p to R^n that acts on a vector (p,) or on the columns of a matrix (p, k)."""

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        """The product A x."""
        raise NotImplementedError

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        """The product with the transpose, A' x."""
        raise NotImplementedError

    def columns(self, indices: Array) -> Float[Array, "n k"]:
        """The columns at `indices` as a dense matrix."""
        identity = jax.nn.one_hot(indices, self.shape[1], axis=0, dtype=self.dtype)
        return self.matvec(identity)

    def rows(self, indices: Int[Array, " m"]) -> Float[Array, "m p"]:
        """The rows at `indices` as a dense matrix."""
        return self.rmatvec(jax.nn.one_hot(indices, self.shape[0], axis=0, dtype=self.dtype)).T

    def rows_matvec(self, indices: Int[Array, " m"], x: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
        """The entries of A x at `indices`; dense and sparse matrices read those rows alone."""
        return self.matvec(x)[indices]

    def rows_rmatvec(self, indices: Int[Array, " m"], x: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        """The sum over `indices` of a row times its entry of x, A[indices]' x; an index may come more than once."""
        return self.rmatvec(jnp.zeros((self.shape[0], *x.shape[1:]), x.dtype).at[indices].add(x))

    def squared_row_norms(self) -> Float[Array, " n"]:
        """The squared Euclidean norm of every row."""
        return lax.map(lambda i: jnp.sum(self.rows(i[None]) ** 2), jnp.arange(self.shape[0]), batch_size=_CHUNK)

    def squared_column_norms(self) -> Float[Array, " p"]:
        """The squared Euclidean norm of every column."""
        return lax.map(lambda j: jnp.sum(self.columns(j[None]) ** 2), jnp.arange(self.shape[1]), batch_size=_CHUNK)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (n, p)."""
        raise NotImplementedError

    @property
    def dtype(self) -> Any:
        """Floating-point dtype of the entries."""
        raise NotImplementedError
