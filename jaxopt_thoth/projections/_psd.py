import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def psd(x: Float[ArrayLike, "n n"]) -> Float[Array, "n n"]:
    """Euclidean projection onto the symmetric positive semidefinite matrices, of `x` or of its symmetric part.

    The eigenvalues are clipped (Higham, "Computing a nearest symmetric positive semidefinite matrix", 1988). The first
    derivative goes by divided differences (Malick and Sendov, 2006), finite and exact at repeated eigenvalues too;
    second derivatives need distinct eigenvalues.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.psd(jnp.array([[2.0, 0.0], [0.0, -1.0]])).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """
    array = _tree.as_inexact(x)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"x must be a square matrix, got shape {array.shape}; vmap over its leading axes.")
    # Halved first, or the sum could overflow.
    return array if array.size == 0 else _clip_eigenvalues(array / 2 + array.T / 2)


def _multiply(*factors: Array) -> Array:
    return jnp.linalg.multi_dot(factors, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def _clip_eigenvalues(x: Array) -> Array:
    values, vectors = jnp.linalg.eigh(x, symmetrize_input=False)
    return _multiply(vectors * jax.nn.relu(values)[None, :], vectors.T)


@_clip_eigenvalues.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    values, vectors = jnp.linalg.eigh(x, symmetrize_input=False)
    positive = values > 0
    clipped = jax.nn.relu(values)
    # Between signs (p - 0) / (p - m), which no cancellation spoils; elsewhere one or zero.
    above = jnp.maximum(clipped[:, None], clipped[None, :])
    gap = jnp.abs(values[:, None] - values[None, :])
    mixed = positive[:, None] != positive[None, :]
    both = (positive[:, None] & positive[None, :]).astype(x.dtype)
    weight = jnp.where(mixed, above / jnp.where(mixed, gap, 1), both)
    inner = _multiply(vectors.T, dx, vectors) * weight
    p = _multiply(vectors * clipped[None, :], vectors.T)
    return p, _multiply(vectors, inner, vectors.T)
