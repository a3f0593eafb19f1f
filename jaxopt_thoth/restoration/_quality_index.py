import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._blur import Blur
from ._image_pair import image_pair
from ._images import require_count


def quality_index(
    estimate: ArrayLike, reference: ArrayLike, *, size: int = 8, stabilizers: tuple[float, float] = (0.0, 0.0)
) -> Float[Array, ""]:
    """Universal image quality index, the mean over windows and bands; 1 exactly where the images agree.

    In each window it is `(2 m n + c) (2 cov + d) / ((m^2 + n^2 + c) (var + var' + d))` for the means m, n, the
    variances and the covariance, with the stabilizers c and d: zero as published first, `(0.01 peak)^2` and
    `(0.03 peak)^2` for the structural similarity (SSIM) with square windows. A window where both images are constant
    counts by its means alone.

    Args:
        estimate: (H, W) or (H, W, L).
        reference: of the same shape.
        size: side of the windows, at most that of the image; every position inside the image counts; static.
        stabilizers: c and d, nonnegative.

    Returns:
        A scalar, at most 1.

    Raises:
        ValueError: when the shapes or dtypes differ, or a setting is out of range.

    Source: Z. Wang, A. Bovik, "A universal image quality index", 2002; Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli,
    "Image quality assessment: from error visibility to structural similarity", 2004.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> ramp = jnp.arange(100.0).reshape(10, 10)
        >>> print(restoration.quality_index(2 * ramp, ramp).round(2))
        0.64
    """
    first, second = image_pair(estimate, reference)
    require_count(size, "size")
    require_nonnegative(stabilizers, "stabilizers")
    if size > min(first.shape[:2]):
        raise ValueError(f"size must be at most the sides of the image {first.shape[:2]}, got {size}.")
    box = Blur(jnp.full((size, size), 1 / size**2, first.dtype), "zero")
    start = size - 1 - size // 2
    inside = lambda x: box(x)[start : start + x.shape[0] - size + 1, start : start + x.shape[1] - size + 1]
    # About the mean of the image the squares cancel less.
    center = jnp.mean(second, axis=(0, 1), keepdims=True)
    a, b = first - center, second - center
    mean_a, mean_b = inside(a), inside(b)
    variances = inside(a * a) + inside(b * b) - mean_a**2 - mean_b**2
    covariance = inside(a * b) - mean_a * mean_b
    m, n = mean_a + center, mean_b + center
    c, d = stabilizers
    # What rounding makes of a variance of zero.
    floor = 100 * jnp.finfo(first.dtype).eps * (jnp.max(jnp.abs(a)) ** 2 + jnp.max(jnp.abs(b)) ** 2)
    spread = variances + d
    flat = spread <= floor
    structure = jnp.where(flat, 1, (2 * covariance + d) / jnp.where(flat, 1, spread))
    sizes = m**2 + n**2 + c
    light = jnp.where(sizes > 0, (2 * m * n + c) / jnp.where(sizes > 0, sizes, 1), 1)
    return jnp.mean(light * structure)
