import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def transport_residual(z: Float[ArrayLike, "n m"], sums: tuple[ArrayLike, ArrayLike]) -> Float[Array, ""]:
    """By how much the row and column sums of `z` miss `sums` at most: whether `transport` and its kin converged.

    `sums` is the pair `(row_sums, column_sums)`; each is a vector, or a number for all. Raises `ValueError` where `z`
    is not a matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.transport_residual(jnp.array([[0.5, 0.0], [0.25, 0.25]]), (0.5, 0.5)).item()
        0.25
    """
    array = _tree.as_inexact(z)
    if array.ndim != 2:
        raise ValueError(f"z must be a matrix, got shape {array.shape}; vmap over its leading axes.")
    gaps = [jnp.sum(array, 1 - axis) - jnp.asarray(sums[axis]).astype(array.dtype) for axis in (0, 1)]
    return jnp.max(jnp.abs(jnp.concatenate(gaps)), initial=0)
