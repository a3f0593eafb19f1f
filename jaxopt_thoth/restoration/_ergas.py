import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_positive
from ._image_pair import image_pair


def ergas(estimate: ArrayLike, reference: ArrayLike, *, factor: ArrayLike) -> Float[Array, ""]:
    """Relative global error of synthesis, `100 / factor * sqrt(mean over bands of (rmse / mean)^2)`; zero is exact.

    Args:
        estimate: (H, W) or (H, W, L).
        reference: of the same shape, bands of a mean that is not zero.
        factor: ratio of the pixel sizes of the two sensors, for example 4.

    Returns:
        A scalar.

    Raises:
        ValueError: when the shapes or dtypes differ, or a factor is not positive.

    Source: L. Wald, "Quality of high resolution synthesised images: is there a simple criterion?", 2000.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> print(restoration.ergas(jnp.full((4, 4, 2), 0.9), jnp.ones((4, 4, 2)), factor=4).round(2))
        2.5
    """
    require_positive(factor, "factor")
    first, second = image_pair(estimate, reference)
    squares = jnp.mean((first - second) ** 2, axis=(0, 1)) / jnp.mean(second, axis=(0, 1)) ** 2
    return 100 / _tree.setting(factor).astype(second.dtype) * _tree.safe_sqrt(jnp.mean(squares))
