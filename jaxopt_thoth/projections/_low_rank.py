import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def low_rank(x: Float[ArrayLike, "m n"], rank: int) -> Float[Array, "m n"]:
    """Nearest matrix of at most the given rank: the largest singular values are kept.

    The set is not convex; where the last singular value that is kept equals the first that is not, one of the nearest
    points is returned, and the derivative stays finite. Second derivatives need distinct singular values. Raises
    `ValueError` for a negative rank and where `x` is no matrix.

    Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.low_rank(jnp.array([[3.0, 0.0], [0.0, 1.0]]), 1).round(6).tolist()
        [[3.0, 0.0], [0.0, 0.0]]
    """
    if rank < 0:
        raise ValueError(f"rank must be nonnegative, got {rank}; pass a value >= 0.")
    array = _tree.as_inexact(x)
    if array.ndim != 2:
        raise ValueError(f"x must be a matrix, got shape {array.shape}; vmap over its leading axes.")
    return array if rank >= min(array.shape) else _truncate(rank, array)


def _multiply(*factors: Array) -> Array:
    return jnp.linalg.multi_dot(factors, precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _truncate(rank: int, x: Array) -> Array:
    left, values, right = jnp.linalg.svd(x, full_matrices=False)
    return _multiply(left[:, :rank] * values[None, :rank], right[:rank])


@_truncate.defjvp
def _(rank: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    left, values, right = jnp.linalg.svd(x, full_matrices=False)
    kept = jnp.arange(values.size) < rank
    inner = _multiply(left.T, dx, right.T)
    # Divided differences and sums of the values that are kept; between kept ones both are 1.
    both = (kept[:, None] & kept[None, :]).astype(x.dtype)
    one = kept[:, None] ^ kept[None, :]
    above = jnp.maximum(values[:, None], values[None, :])
    gap = jnp.abs(values[:, None] - values[None, :])
    apart = gap > 16 * jnp.finfo(x.dtype).eps * values[0]
    differences = jnp.where(one, jnp.where(apart, above / jnp.where(apart, gap, 1), 0.5), both)
    some = one & (above > 0)
    total = jnp.where(some, values[:, None] + values[None, :], 1)
    sums = jnp.where(one, jnp.where(some, above / total, 0.5), both)
    middle = (differences * (inner + inner.T) + sums * (inner - inner.T)) / 2
    outer = _multiply(jnp.where(kept[None, :], _multiply(dx, right.T) - _multiply(left, inner), 0), right)
    outer = outer + _multiply(jnp.where(kept[None, :], left, 0), _multiply(left.T, dx) - _multiply(inner, right))
    p = _multiply(left[:, :rank] * values[None, :rank], right[:rank])
    return p, _multiply(left, middle, right) + outer
