from typing import Self

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from ..penalties import SeparableSum, Simplex
from ._variational_inequality import VariationalInequality


class MatrixGame(VariationalInequality):
    """The game `min_x max_y x'A y` over two simplices: the variational inequality of `(A y, -A'x)` for the pair (x, y).

    Args:
        matrix: what the row player pays the column player, of shape (m, n).

    Raises:
        ValueError: if the matrix has no two axes, or no entry.

    von Neumann, "Zur Theorie der Gesellschaftsspiele", 1928.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> game = jt.problems.MatrixGame(jnp.array([[1.0, -1.0], [-1.0, 1.0]]))
        >>> even = jnp.array([0.5, 0.5])
        >>> print(game.value((even, even)), game.duality_gap((even, even)))
        0.0 0.0
    """

    def __init__(self, matrix: ArrayLike):
        matrix = _tree.setting(matrix)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"matrix must have shape (m, n) with m, n >= 1, got {matrix.shape}; vmap over a batch.")
        super().__init__(_payoffs, SeparableSum((Simplex(), Simplex())), matrix)

    @property
    def matrix(self) -> Float[Array, "m n"]:
        """The payoffs."""
        return self.args[0]

    def value(self, params: Params) -> Scalar:
        """What the row player pays on average, `x'A y`."""
        x, y = params
        return jnp.vdot(x, _product(self.matrix, y), precision=lax.Precision.HIGHEST)

    def duality_gap(self, params: Params) -> Scalar:
        """`max_j (A'x)_j - min_i (A y)_i`: what both players together can gain, and so zero at an equilibrium only."""
        x, y = params
        return jnp.max(_product(self.matrix.T, x)) - jnp.min(_product(self.matrix, y))

    def closed(self, params: Params) -> Self:
        return self


def _payoffs(pair: Params, matrix: Array) -> Params:
    x, y = pair
    return _product(matrix, y), -_product(matrix.T, x)


def _product(matrix: Array, x: Array) -> Array:
    # The gap is a difference of such products.
    return jnp.matmul(matrix, x, precision=lax.Precision.HIGHEST)
