import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Downsample(eqx.Module):
    """Every `factor`-th row and column of an image (H, W) or cube (H, W, L), from `offset` on, as a linear map.

    A sensor of coarse pixels is a `Blur` by their response and this. With a kernel centered on its middle entry and an
    odd factor, `offset = factor // 2` puts the coarse pixels in the middle of their fine ones.

    Args:
        factor: one integer, or one for rows and one for columns; static.
        offset: of the first row and column that are kept, below the factor; static.

    Raises:
        ValueError: for settings out of range, and when called, for an image whose sides are no multiples of the factor.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> keep = restoration.Downsample((1, 2), offset=(0, 1))
        >>> print(keep(jnp.array([[0.0, 1.0, 2.0, 3.0]])), keep.transpose(jnp.array([[1.0, 3.0]])))
        [[1. 3.]] [[0. 1. 0. 3.]]
    """

    factor: tuple[int, int] = eqx.field(static=True)
    offset: tuple[int, int] = eqx.field(static=True)

    def __init__(self, factor: int | tuple[int, int], offset: int | tuple[int, int] = 0):
        self.factor = _pair(factor, "factor")
        self.offset = _pair(offset, "offset")
        if min(self.factor) < 1:
            raise ValueError(f"factor must be at least 1, got {factor}.")
        if any(not 0 <= start < step for start, step in zip(self.offset, self.factor, strict=True)):
            raise ValueError(f"offset must be from 0 to below the factor {self.factor}, got {offset}.")

    def __call__(self, image: Float[Array, "H W *L"]) -> Float[Array, "h w *L"]:
        """The image on the coarse grid."""
        if image.ndim not in (2, 3) or any(n % f for n, f in zip(image.shape, self.factor)):
            raise ValueError(
                f"image must be (H, W) or (H, W, L) with sides that are multiples of {self.factor}, got "
                f"{image.shape}; crop it."
            )
        return image[self.offset[0] :: self.factor[0], self.offset[1] :: self.factor[1]]

    def transpose(self, image: Float[Array, "h w *L"]) -> Float[Array, "H W *L"]:
        """The image on the fine grid, zero between the pixels."""
        if image.ndim not in (2, 3):
            raise ValueError(f"image must be (h, w) or (h, w, L), got {image.shape}.")
        height, width = image.shape[0] * self.factor[0], image.shape[1] * self.factor[1]
        fine = jnp.zeros((height, width, *image.shape[2:]), image.dtype)
        return fine.at[self.offset[0] :: self.factor[0], self.offset[1] :: self.factor[1]].set(image)


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(isinstance(part, bool) or not isinstance(part, int) for part in pair):
        raise ValueError(f"{name} must be one integer, or one for rows and one for columns, got {value!r}.")
    return pair[0], pair[1]
