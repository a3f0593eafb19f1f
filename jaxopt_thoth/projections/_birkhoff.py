from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._transport import transport


def birkhoff(x: Float[ArrayLike, "n n"], max_steps: int = 500) -> Float[Array, "n n"]:
    """Euclidean projection onto the Birkhoff polytope, the doubly stochastic matrices: `transport` with unit sums.

    Raises `ValueError` where `x` is not square.

    Li, Sun and Toh, "On the efficient computation of a generalized Jacobian of the projector over the Birkhoff
    polytope", 2020.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.birkhoff(jnp.array([[0.5, 0.0], [0.0, 0.5]])).round(6).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    array = _tree.as_inexact(x)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"x must be a square matrix, got shape {array.shape}; use transport for other shapes.")
    return transport(array, (1.0, 1.0), max_steps)
