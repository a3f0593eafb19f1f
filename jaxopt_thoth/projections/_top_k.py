import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree


def top_k(x: Float[ArrayLike, "..."], k: int) -> Float[Array, "..."]:
    """Nearest point of the l0 ball `{at most k entries are not zero}`: the `k` largest magnitudes are kept.

    The set is not convex; of tied entries the first are kept. All entries of `x` are one vector. Blumensath and Davies,
    "Iterative hard thresholding for compressed sensing", 2009. Raises `ValueError` for a negative `k`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.top_k(jnp.array([0.5, -3.0, 1.0]), 2).tolist()
        [0.0, -3.0, 1.0]
    """
    if k < 0:
        raise ValueError(f"k must be nonnegative, got {k}; pass a value >= 0.")
    array = _tree.as_inexact(x)
    return jnp.where(largest(jnp.abs(array), k), array, 0)


def largest(x: Array, k: int) -> Bool[Array, "..."]:
    """Which entries are the `k` largest; of ties, the first."""
    flat = jax.lax.stop_gradient(x).reshape(-1)
    _, kept = jax.lax.top_k(flat, min(k, flat.size))
    return jnp.zeros(flat.size, bool).at[kept].set(True).reshape(x.shape)
