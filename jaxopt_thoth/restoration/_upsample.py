import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._downsample import Downsample


# Cubic weights reach two pixels, so that so many beyond the border decide about those before it.
_PAD = 2


def upsample(
    image: ArrayLike, factor: int | tuple[int, int], offset: int | tuple[int, int] = 0
) -> Float[Array, "H W *L"]:
    """Cubic interpolation of an image (h, w) or cube (h, w, L) to the fine grid of `Downsample(factor, offset)`.

    It goes through the given pixels: `Downsample(factor, offset)(upsample(image, factor, offset))` is the image. Beyond
    the border the nearest pixel is taken.

    Args:
        image: (h, w) or (h, w, L).
        factor: one integer, or one for rows and one for columns.
        offset: of the first coarse pixel on the fine grid.

    Raises:
        ValueError: for settings out of range, or an image of another shape.

    Source: R. Keys, "Cubic convolution interpolation for digital image processing", 1981; with shifts that keep images
    of two resolutions aligned, B. Aiazzi, S. Baronti, M. Selva, L. Alparone, "Bi-cubic interpolation for shift-free
    pan-sharpening", 2013.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> fine = restoration.upsample(jnp.arange(6.0)[None, :] * jnp.ones((2, 1)), (1, 2))
        >>> print(fine[0, 2:8].round(3))
        [1.  1.5 2.  2.5 3.  3.5]
    """
    keep = Downsample(factor, offset)
    array = _tree.as_inexact(image)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"image must be (h, w) or (h, w, L) and not empty, got {array.shape}.")
    size = array.shape[0] * keep.factor[0], array.shape[1] * keep.factor[1]
    padded = jnp.pad(array, ((_PAD, _PAD), (_PAD, _PAD)) + ((0, 0),) * (array.ndim - 2), mode="edge")
    factors = jnp.array(keep.factor, array.dtype)
    # Sample j of the fine grid is at `(j + 1/2 - shift) / factor - 1/2` of the coarse one.
    shifts = jnp.array(keep.offset, array.dtype) + 0.5 - (0.5 + _PAD) * factors
    return jax.image.scale_and_translate(
        padded, (*size, *array.shape[2:]), (0, 1), factors, shifts, "cubic", antialias=False, precision="highest"
    )
