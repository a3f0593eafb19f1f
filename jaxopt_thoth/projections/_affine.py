import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._affine_factor import AffineFactor


def affine(
    x: Float[ArrayLike, " n"], matrix: Float[ArrayLike, "m n"] | AffineFactor, offset: Float[ArrayLike, " m"]
) -> Float[Array, " n"]:
    """Euclidean projection onto the affine set `{matrix @ z = offset}`.

    Rows may be dependent; where they contradict each other the set is that of the least-squares solutions.
    Differentiable in every argument, forward and reverse. A matrix used many times may be passed as
    `affine_factor(matrix)`. Raises `ValueError` for shapes that do not fit.

    The correction is the solution of least norm of `matrix @ d = offset - matrix @ x`, by a singular value
    decomposition (Boyd and Vandenberghe, "Convex Optimization", 2004, section 8.1): unlike the Cholesky factor of
    `matrix @ matrix.T` it neither squares the condition number nor asks for independent rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projected = projections.affine(jnp.array([2.0, 3.0, 4.0]), jnp.array([[1.0, 1.0, 1.0]]), jnp.array([6.0]))
        >>> projected.round(6).tolist()
        [1.0, 2.0, 3.0]
    """
    array = _tree.as_inexact(x)
    factor = matrix if isinstance(matrix, AffineFactor) else None
    a, b = (jnp.asarray(value).astype(array.dtype) for value in (matrix if factor is None else factor.matrix, offset))
    if array.ndim != 1 or a.shape != (*b.shape, *array.shape) or b.ndim != 1:
        raise ValueError(
            f"matrix must be (len(offset), len(x)), got {a.shape} with offset {b.shape} and x {array.shape}; "
            "flatten x, or vmap over its leading axes."
        )
    if array.size == 0 or b.size == 0:
        return array
    gap = b - jnp.matmul(a, array, precision=jax.lax.Precision.HIGHEST)
    if factor is not None:
        return array + jnp.matmul(factor.inverse.astype(array.dtype), gap, precision=jax.lax.Precision.HIGHEST)
    return array + lx.linear_solve(lx.MatrixLinearOperator(a), gap, lx.SVD()).value
