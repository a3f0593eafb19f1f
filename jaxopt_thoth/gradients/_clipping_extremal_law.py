import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._clipping_floor import noise_and_level


def clipping_extremal_law(sigma: ArrayLike, clip: ArrayLike) -> tuple[Float[Array, "2 ..."], Float[Array, "2 ..."]]:
    """The noise of standard deviation `sigma` whose clipping bias attains `clipping_floor`.

    With r = min(1, sigma / (2 clip)) it is `-sigma r` with probability 1 / (1 + r^2), and `sigma / r` else: often a
    little too low, seldom much too high. From `sigma = 2 clip` on r is 1, the law is symmetric, and clipped SGD rests
    anywhere in an interval, of which the floor is the end.

    Args:
        sigma: scalar or array, standard deviation of the noise.
        clip: scalar or array of the same shape, the level.

    Returns:
        Values and probabilities, of shape (2,) before that of the arguments.

    Raises:
        ValueError: where one of the arguments is known to be negative.

    Example:
        >>> from jaxopt_thoth import gradients
        >>> values, probabilities = gradients.clipping_extremal_law(1.0, clip=1.0)
        >>> print(values.round(4), probabilities.round(4))
        [-0.5  2. ] [0.8 0.2]
    """
    sigma, clip = noise_and_level(sigma, clip)
    high = jnp.maximum(sigma, 2 * clip)
    ratio = jnp.where(high > 0, sigma / jnp.where(high > 0, high, 1), 1)
    rare = ratio**2 / (1 + ratio**2)
    return jnp.stack([-sigma * ratio, high]), jnp.stack([1 - rare, rare])
