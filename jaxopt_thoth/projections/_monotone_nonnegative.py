import jax
from jaxtyping import Array, ArrayLike, Float

from ._isotonic import isotonic


def monotone_nonnegative(
    x: Float[ArrayLike, " n"], increasing: bool = True, weights: Float[ArrayLike, " n"] | None = None
) -> Float[Array, " n"]:
    """Projection onto the monotone nonnegative cone `{0 <= z_1 <= ... <= z_n}` (or `z_1 >= ... >= z_n >= 0`).

    `isotonic`, then clipped at zero (Nemeth and Nemeth, "How to project onto the monotone nonnegative cone using pool
    adjacent violators type algorithms", 2012).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.monotone_nonnegative(jnp.array([3.0, 1.0, 2.0, -1.0]), increasing=False).tolist()
        [3.0, 1.5, 1.5, 0.0]
    """
    return jax.nn.relu(isotonic(x, increasing, weights))
