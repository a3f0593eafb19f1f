from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._transport_kl import transport_kl


def birkhoff_kl(x: Float[ArrayLike, "n n"], max_steps: int = 1000) -> Float[Array, "n n"]:
    """Doubly stochastic matrix nearest to `exp(x)` in Kullback-Leibler divergence: `transport_kl` with unit sums.

    Raises `ValueError` where `x` is not square.

    Sinkhorn, "A relationship between arbitrary positive matrices and doubly stochastic matrices", 1964.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.birkhoff_kl(jnp.log(jnp.array([[9.0, 1.0], [1.0, 1.0]]))).round(6).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    array = _tree.as_inexact(x)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"x must be a square matrix, got shape {array.shape}; use transport_kl for other shapes.")
    return transport_kl(array, (1.0, 1.0), max_steps)
