import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from .. import _tree
from ._images import as_kernel, Boundary, require_boundary


_PADDING = {"symmetric": "symmetric", "edge": "edge", "zero": "constant"}


class Blur(eqx.Module):
    """Convolution of an image (H, W) or of the bands of a cube (H, W, L) with a kernel, as a linear map of the image.

    `y[i, j] = sum_uv kernel[u, v] x[i - u + a // 2, j - v + b // 2]`: the entry (a // 2, b // 2) of the kernel is its
    center. What lies beyond the border is the other side of the image ("periodic"), its mirror image with the border
    between two pixels ("symmetric"), the nearest pixel ("edge") or "zero". It is computed by the Fourier transform, of
    the padded image unless the border is periodic, so that its cost hardly depends on the size of the kernel.

    Args:
        kernel: (a, b), or (a, b, L) with one kernel for each band; a sensor that blurs along one axis has (a, 1) or
            (1, b).
        boundary: "periodic", "symmetric", "edge" or "zero"; static.

    Raises:
        ValueError: for a kernel of another shape or that is not finite, an unknown boundary, and when called, for an
            image of another shape, or one smaller than the kernel.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> blur = restoration.Blur(jnp.array([[0.25, 0.5, 0.25]]))
        >>> print(blur(jnp.array([[0.0, 4.0, 0.0, 0.0]])).round(3) + 0.0)
        [[1. 2. 1. 0.]]
    """

    kernel: Float[Array, "a b *L"]
    boundary: Boundary = eqx.field(static=True)

    def __init__(self, kernel: ArrayLike, boundary: Boundary = "periodic"):
        require_boundary(boundary)
        array = _tree.as_inexact(kernel)
        self.kernel = as_kernel(array, array.dtype)
        self.boundary = boundary

    def __call__(self, image: Float[Array, "H W *L"]) -> Float[Array, "H W *L"]:
        """The blurred image."""
        self._check(image)
        height, width = image.shape[:2]
        rows, columns = self.kernel.shape[:2]
        if self.boundary == "periodic":
            return self._convolve(image)
        before = rows - 1 - rows // 2, columns - 1 - columns // 2
        pads = ((before[0], rows // 2), (before[1], columns // 2)) + ((0, 0),) * (image.ndim - 2)
        wide = jnp.pad(image, pads, mode=_PADDING[self.boundary])
        return self._convolve(wide)[before[0] : before[0] + height, before[1] : before[1] + width]

    def transpose(self, image: Float[Array, "H W *L"]) -> Float[Array, "H W *L"]:
        """The product with the transpose: `vdot(blur(x), y) == vdot(x, blur.transpose(y))`."""
        return jax.linear_transpose(self, image)(image)[0]

    def transfer(self, height: int, width: int) -> Complex[Array, "H half *L"]:
        """The factors of the frequencies, as `jnp.fft.rfft2` orders them, on a periodic image of that size."""
        rows, columns = self.kernel.shape[:2]
        rest = ((0, 0),) * (self.kernel.ndim - 2)
        padded = jnp.pad(self.kernel, ((0, height - rows), (0, width - columns), *rest))
        centered = jnp.roll(padded, (-(rows // 2), -(columns // 2)), axis=(0, 1))
        return jnp.fft.rfft2(centered, axes=(0, 1))

    def _convolve(self, image: Array) -> Array:
        size = image.shape[:2]
        spectrum = jnp.fft.rfft2(image, axes=(0, 1))
        transfer = self.transfer(*size).astype(spectrum.dtype)
        if image.ndim > transfer.ndim:
            transfer = transfer[:, :, None]
        return jnp.fft.irfft2(transfer * spectrum, s=size, axes=(0, 1))

    def _check(self, image: Array) -> None:
        kernel = self.kernel.shape
        if image.ndim not in (2, 3) or image.ndim < len(kernel):
            raise ValueError(
                f"image must be an image (H, W) or a cube (H, W, L), got {image.shape} for a kernel {kernel}."
            )
        if len(kernel) == 3 and kernel[2] != image.shape[2]:
            raise ValueError(f"kernel has {kernel[2]} bands and image {image.shape[2]}; give one kernel for each band.")
        if image.shape[0] < kernel[0] or image.shape[1] < kernel[1]:
            raise ValueError(f"image {image.shape[:2]} must not be smaller than the kernel {kernel[:2]}; crop that.")
