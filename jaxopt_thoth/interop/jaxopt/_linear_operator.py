from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...operators import AbstractOperator, as_operator, DenseOperator


class LinearOperator(eqx.Module):
    """A linear map in the form that block coordinate descent asks for: whole products, and one column at a time.

    Args:
        A: a matrix (n, p), dense or as `operators.as_operator` takes it.

    Raises:
        ValueError: if `A` does not have two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(objective.LinearOperator(jnp.eye(2)).update_matvec(jnp.zeros(2), jnp.array(3.0), 1))
        [0. 3.]
    """

    operator: AbstractOperator

    def __init__(self, A: Any):
        self.operator = as_operator(A)

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        """The product A x."""
        return self.operator.matvec(x)

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        """The product with the transpose, A' x."""
        return self.operator.rmatvec(x)

    def rmatvec_element(self, x: Float[Array, "n *k"], idx: Array | int) -> Float[Array, " *k"]:
        """Row `idx` of A' x."""
        return jnp.matmul(self._column(idx), x, precision=lax.Precision.HIGHEST)

    def update_matvec(self, Ax: Float[Array, "n *k"], delta: Float[Array, " *k"], idx: Array | int) -> Array:
        """A x after row `idx` of x has moved by `delta`."""
        return Ax + jnp.tensordot(self._column(idx), delta, axes=0)

    def column_l2_norms(self, squared: bool = False) -> Float[Array, " p"]:
        """The Euclidean norms of the columns, or their squares."""
        if isinstance(self.operator, DenseOperator):
            squares = jnp.sum(self.operator.matrix**2, axis=0)
        else:
            squares = lax.map(lambda idx: jnp.sum(self._column(idx) ** 2), jnp.arange(self.operator.shape[1]))
        return squares if squared else jnp.sqrt(squares)

    def _column(self, idx: Array | int) -> Float[Array, " n"]:
        return self.operator.columns(jnp.asarray(idx)[None])[:, 0]
