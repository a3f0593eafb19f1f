import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


class AffineFactor(eqx.Module):
    """A matrix (m, n) with its pseudo-inverse (n, m): what `affine_factor` returns and `affine` accepts."""

    matrix: Float[Array, "m n"]
    inverse: Float[Array, "n m"]


def affine_factor(matrix: Float[ArrayLike, "m n"]) -> AffineFactor:
    """Factor a matrix once, for many calls of `affine(x, factor, offset)`, each of which then costs two products.

    Rows may be dependent. Differentiable in the matrix while its rank is constant. Raises `ValueError` where `matrix`
    is not a matrix.

    Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
    separate", 1973.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> factor = projections.affine_factor(jnp.array([[1.0, 1.0, 1.0]]))
        >>> projections.affine(jnp.array([2.0, 3.0, 4.0]), factor, jnp.array([6.0])).round(6).tolist()
        [1.0, 2.0, 3.0]
    """
    array = _tree.as_inexact(matrix)
    if array.ndim != 2:
        raise ValueError(f"matrix must have two axes, got shape {array.shape}; vmap over its leading axes.")
    if array.size == 0:
        return AffineFactor(array, array.T)
    with jax.default_matmul_precision("highest"):
        return AffineFactor(array, jnp.linalg.pinv(array))
