import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._pairs import drop_unknown, pair


def sre(estimate: ArrayLike, reference: ArrayLike) -> Float[Array, ""]:
    """Signal-to-reconstruction error in decibels, `20 log10(|X0| / |X - X0|)`; NaN entries do not count.

    With X0 fixed it is the abundance error on another scale: `20 log10(100 rms(X0) / abundance_rmse)`.

    Args:
        estimate: X, abundances (p, N), or any array.
        reference: X0, of the same shape.

    Returns:
        Decibels, a scalar; infinity for an exact estimate.

    Raises:
        ValueError: when the shapes or dtypes differ.

    Source: M.-D. Iordache, J. Bioucas-Dias, A. Plaza, "Sparse unmixing of hyperspectral data", 2011.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{float(sre(jnp.array([1.1, 0.0]), jnp.array([1.0, 0.0]))):.2f}")
        20.00
    """
    first, second, _ = drop_unknown(*pair(estimate, reference))
    error = first - second
    return 10 * (jnp.log10(jnp.sum(second * second)) - jnp.log10(jnp.sum(error * error)))
