import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._checks import as_matrix, as_pixels, same_dtype
from ._pairs import drop_unknown, root_mean_square


def reconstruction_rmse(pixels: ArrayLike, endmembers: ArrayLike, abundances: ArrayLike) -> Float[Array, ""]:
    """Root-mean-square of the residual `Y - E A` in the unit of the pixels; pixels with NaN do not count.

    Args:
        pixels: (L, N), any unit.
        endmembers: (L, p), in the unit of the pixels.
        abundances: (p, N) fractions.

    Returns:
        A scalar in the unit of the pixels.

    Raises:
        ValueError: when the shapes or dtypes disagree.

    Source: B. Rasti et al., "Image Processing and Machine Learning for Hyperspectral Unmixing" (HySUPP), 2024.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{float(reconstruction_rmse(jnp.ones((4, 2)), jnp.ones((4, 1)), jnp.array([[1.0, 0.5]]))):.3f}")
        0.354
    """
    values, spectra = as_pixels(pixels), as_matrix(endmembers, "endmembers", "(L, p)")
    weights = as_matrix(abundances, "abundances", "(p, N)")
    same_dtype(values, "pixels", spectra, "endmembers")
    same_dtype(values, "pixels", weights, "abundances")
    if values.shape != (spectra.shape[0], weights.shape[1]) or spectra.shape[1] != weights.shape[0]:
        raise ValueError(
            f"pixels {values.shape}, endmembers {spectra.shape} and abundances {weights.shape} must be "
            "(L, N), (L, p) and (p, N); transpose the odd one."
        )
    fit = jnp.matmul(spectra, weights, precision=jax.lax.Precision.HIGHEST)
    values, fit, known = drop_unknown(values, fit)
    return root_mean_square(values - fit, known, (0, 1))
