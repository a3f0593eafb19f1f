from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree, _validate
from ._scene_error import SceneError


class Scene(eqx.Module):
    """A hyperspectral image with whatever is known about it: truth, library, wavelengths, valid pixels.

    Pixels are in row-major order, `n = row * width + column`. A pixel is valid where `mask` is true and all its
    bands are finite; the others are stored as zeros (in `abundances` too), so that no NaN reaches a product, and
    come back as NaN in `cube` and `to_map`.

    Args:
        pixels: (L, N) physical values (reflectance or radiance), L >= 2, N = height * width.
        height: H, rows of the image.
        width: W, columns of the image.
        wavelengths: (L,) band centers in the unit of the source, or None.
        endmembers: (L, p) true endmembers, or None.
        abundances: (p, N) true abundances as fractions, or None.
        library: (L, M) spectral library, or None.
        mask: (N,) booleans, True for a valid pixel; None means every finite pixel.
        names: p names of the endmembers, or None.
        library_names: M names of the library's spectra, or None.

    Raises:
        SceneError: when shapes disagree, a size is not positive, there are fewer than 2 bands, no pixel is valid, or
            the wavelengths, the endmembers, the library or the abundances of a valid pixel are not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> scene = Scene(jnp.ones((4, 6)), 2, 3, mask=jnp.array([True] * 5 + [False]))
        >>> scene.num_bands, scene.num_pixels, scene.cube().shape
        (4, 6, (2, 3, 4))
        >>> bool(jnp.isnan(scene.cube()[1, 2]).all())
        True
    """

    pixels: Float[Array, "L N"]
    height: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    wavelengths: Float[Array, " L"] | None
    endmembers: Float[Array, "L p"] | None
    abundances: Float[Array, "p N"] | None
    library: Float[Array, "L M"] | None
    mask: Bool[Array, " N"]
    names: tuple[str, ...] | None = eqx.field(static=True)
    library_names: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        pixels: ArrayLike,
        height: int,
        width: int,
        wavelengths: ArrayLike | None = None,
        endmembers: ArrayLike | None = None,
        abundances: ArrayLike | None = None,
        library: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        library_names: Sequence[str] | None = None,
    ) -> None:
        self.height = _size(height, "height")
        self.width = _size(width, "width")
        values = _tree.as_inexact(pixels)
        _require(values.ndim == 2, f"pixels must have shape (L, N), got {values.shape}; use cube_to_pixels on a cube.")
        bands, count = values.shape
        _require(
            self.height * self.width == count,
            f"height * width must equal the number of pixels, got {self.height} * {self.width} and {count} columns.",
        )
        _require(bands >= 2, f"pixels must have at least 2 bands, got {bands}.")

        known = jnp.isfinite(values).all(axis=0)
        if mask is not None:
            given = jnp.asarray(mask)
            _require(given.shape == (count,), f"mask must have shape ({count},), one a pixel, got {given.shape}.")
            known = known & given.astype(bool)
        concrete = _validate.concrete(known)
        _require(concrete is None or bool(concrete.any()), "no pixel is valid: every one is masked or not finite.")

        def convert(value: ArrayLike | None, name: str, shape: tuple[int | None, ...]) -> Array | None:
            if value is None:
                return None
            array = jnp.asarray(value).astype(values.dtype)
            fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=False))
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            _require(fits and array.size > 0, f"{name} must have shape ({expected}), got {array.shape}.")
            return array

        self.wavelengths = _finite(convert(wavelengths, "wavelengths", (bands,)), "wavelengths")
        self.endmembers = _finite(convert(endmembers, "endmembers", (bands, None)), "endmembers")
        self.library = _finite(convert(library, "library", (bands, None)), "library")
        num = None if self.endmembers is None else self.endmembers.shape[1]
        truth = convert(abundances, "abundances", (num, count))
        self.mask = known
        self.pixels = jnp.where(known[None, :], values, 0)
        self.abundances = None if truth is None else jnp.where(known[None, :], truth, 0)
        _finite(self.abundances, "abundances of the valid pixels")

        num = self.abundances.shape[0] if num is None and self.abundances is not None else num
        self.names = _labels(names, "names", num)
        self.library_names = _labels(
            library_names, "library_names", None if self.library is None else self.library.shape[1]
        )

    @property
    def num_bands(self) -> int:
        """Number of bands, L."""
        return self.pixels.shape[0]

    @property
    def num_pixels(self) -> int:
        """Number of pixels, N = height * width, the masked ones included."""
        return self.pixels.shape[1]

    def to_map(self, values: ArrayLike) -> Float[Array, "... H W"]:
        """Images (..., H, W) of values (..., N), NaN at the masked pixels; `SceneError` if N is not ours."""
        array = _tree.as_inexact(values)
        _require(
            array.ndim >= 1 and array.shape[-1] == self.num_pixels,
            f"values must have {self.num_pixels} pixels on the last axis, got shape {array.shape}.",
        )
        marked = jnp.where(jnp.broadcast_to(self.mask, array.shape), array, jnp.nan)
        return marked.reshape(*array.shape[:-1], self.height, self.width)

    def cube(self) -> Float[Array, "H W L"]:
        """The image as a cube (H, W, L), NaN at the masked pixels."""
        return jnp.moveaxis(self.to_map(self.pixels), 0, -1)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SceneError(message)


def _size(value: int, name: str) -> int:
    _require(
        isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0,
        f"{name} must be a positive integer, got {value!r}.",
    )
    return int(value)


def _finite(array: Array | None, name: str) -> Array | None:
    known = None if array is None else _validate.concrete(array)
    _require(known is None or bool(np.isfinite(known).all()), f"{name} must be finite; remove NaN and infinity.")
    return array


def _labels(names: Sequence[str] | None, what: str, count: int | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    labels = tuple(str(name) for name in names)
    _require(
        count is None or len(labels) == count, f"{what} must hold {count} names, one a spectrum, got {len(labels)}."
    )
    return labels
