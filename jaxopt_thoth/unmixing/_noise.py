import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ._checks import as_pixels


def awgn(pixels: ArrayLike, snr_db: ArrayLike, *, key: PRNGKeyArray) -> Float[Array, "L N"]:
    """Add white Gaussian noise, alike in all bands, at a signal-to-noise ratio.

    The variance is `|pixels|_F^2 / (L N 10^(snr_db / 10))`, the convention of the unmixing literature.

    Args:
        pixels: (L, N) signal.
        snr_db: scalar in decibels; infinity adds nothing.
        key: key of the draw.

    Returns:
        (L, N) noisy pixels in the unit and dtype of `pixels`.

    Raises:
        ValueError: when `pixels` is not a matrix or `snr_db` not a scalar.

    Source: B. Rasti et al., "Image Processing and Machine Learning for Hyperspectral Unmixing" (HySUPP), 2024.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> noisy = awgn(jnp.ones((50, 200)), 20.0, key=jax.random.key(0))
        >>> print(f"{float(jnp.std(noisy - 1)):.2f}")
        0.10
    """
    signal = as_pixels(pixels)
    decibels = jnp.asarray(snr_db, signal.dtype)
    if decibels.ndim:
        raise ValueError(f"snr_db must be a scalar, got shape {decibels.shape}; vmap over several values.")
    deviation = jnp.sqrt(jnp.mean(signal * signal)) * 10 ** (-decibels / 20)
    return signal + deviation * jax.random.normal(key, signal.shape, signal.dtype)
