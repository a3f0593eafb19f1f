from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float


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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (n, p)."""
        raise NotImplementedError

    @property
    def dtype(self) -> Any:
        """Floating-point dtype of the entries."""
        raise NotImplementedError
