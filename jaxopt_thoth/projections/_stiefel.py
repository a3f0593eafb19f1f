import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def stiefel(x: Float[ArrayLike, "n p"]) -> Float[Array, "n p"]:
    """Nearest matrix with orthonormal columns, `{Z.T @ Z = I}`: the orthogonal factor of the polar decomposition.

    The set is not convex. At matrices of deficient rank the nearest point is not unique; one is returned, and the
    directions in which it is free have derivative zero. Second derivatives need distinct singular values. Raises
    `ValueError` where `x` has more columns than rows.

    Higham, "Computing the polar decomposition, with applications", 1986; derivative by the Sylvester equation of the
    symmetric factor, which repeated singular values do not disturb.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.stiefel(jnp.array([[2.0, 0.0], [0.0, -3.0]])).round(6).tolist()
        [[1.0, 0.0], [0.0, -1.0]]
    """
    array = _tree.as_inexact(x)
    if array.ndim != 2 or array.shape[0] < array.shape[1]:
        raise ValueError(f"x must be a matrix of at least as many rows as columns, got {array.shape}; transpose it.")
    return array if array.size == 0 else _polar(array)


def _multiply(*factors: Array) -> Array:
    return jnp.linalg.multi_dot(factors, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def _polar(x: Array) -> Array:
    left, _, right = jnp.linalg.svd(x, full_matrices=False)
    return _multiply(left, right)


@_polar.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    left, values, right = jnp.linalg.svd(x, full_matrices=False)
    known = values > values[0] * max(x.shape) * jnp.finfo(x.dtype).eps
    # In the bases of the singular vectors both parts are divisions.
    inner = _multiply(left.T, dx, right.T)
    outer = _multiply(dx, right.T) - _multiply(left, inner)
    total = values[:, None] + values[None, :]
    fixed = known[:, None] | known[None, :]
    turn = jnp.where(fixed, (inner - inner.T) / jnp.where(fixed, total, 1), 0)
    tilt = jnp.where(known[None, :], outer / jnp.where(known, values, 1)[None, :], 0)
    return _multiply(left, right), _multiply(_multiply(left, turn) + tilt, right)
