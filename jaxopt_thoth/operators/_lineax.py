from typing import Any

import jax
import lineax as lx
from jaxtyping import Array, Float

from ._base import AbstractOperator


class LineaxOperator(AbstractOperator):
    """A `lineax` linear operator between flat vectors.

    Example:
        >>> import jax.numpy as jnp, lineax as lx
        >>> from jaxopt_thoth import operators
        >>> scaling = lx.DiagonalLinearOperator(jnp.array([2.0, 3.0]))
        >>> print(operators.LineaxOperator(scaling).matvec(jnp.array([1.0, 1.0])))
        [2. 3.]
    """

    operator: lx.AbstractLinearOperator

    def matvec(self, x: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        return _apply(self.operator, x)

    def rmatvec(self, x: Float[Array, "n *k"]) -> Float[Array, "p *k"]:
        return _apply(self.operator.transpose(), x)

    @property
    def shape(self) -> tuple[int, int]:
        return self.operator.out_size(), self.operator.in_size()

    @property
    def dtype(self) -> Any:
        return jax.tree.leaves(self.operator.in_structure())[0].dtype


def _apply(operator: lx.AbstractLinearOperator, x: Array) -> Array:
    return operator.mv(x) if x.ndim == 1 else jax.vmap(operator.mv, in_axes=1, out_axes=1)(x)
