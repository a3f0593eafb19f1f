import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._image_pair import image_pair


def psnr(estimate: ArrayLike, reference: ArrayLike, *, peak: ArrayLike | None = None) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in decibels, the mean over bands of `10 log10(peak^2 / mean squared error)`.

    Args:
        estimate: (H, W) or (H, W, L).
        reference: of the same shape.
        peak: largest value; by default that of each band of the reference.

    Returns:
        Decibels, a scalar; infinite where a band is exact.

    Raises:
        ValueError: when the shapes or dtypes differ.

    Source: for cubes band by band, L. Loncan et al., "Hyperspectral pansharpening: a review", 2015.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> print(restoration.psnr(jnp.full((4, 4), 0.9), jnp.ones((4, 4))).round(2))
        20.0
    """
    first, second = image_pair(estimate, reference)
    errors = jnp.mean((first - second) ** 2, axis=(0, 1))
    tops = jnp.max(second, axis=(0, 1)) if peak is None else _tree.setting(peak).astype(second.dtype)
    return jnp.mean(10 * (2 * jnp.log10(jnp.abs(tops)) - jnp.log10(errors)))
