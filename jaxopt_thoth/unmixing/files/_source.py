from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from .._scene_error import SceneError
from ._georeference import GeoReference


@dataclass(frozen=True)
class SceneSource:
    """A hyperspectral image that stays in its file, and of which rows are read when they are needed.

    `open_scene` makes one. Reading is safe from several threads.

    Args:
        path: the file.
        height: H, rows of the image.
        width: W, columns of the image.
        bands: indices of the bands that are read, in the file's numbering.
        dtype: the dtype of the stored values.
        fetch: reads rows from `start` up to `stop`, the stored values of all bands, (bands of the file, rows, W).
        wavelengths: (L,) centers of the bands that are read, or None.
        wavelength_units: their unit as the file names it, or None.
        nodata: stored value that marks missing data, or None.
        scale: factor from stored to physical values, one number or one for each band of the file.
        offset: added after the factor, likewise.
        georeference: where the image lies, or None.
        mask: (H, W) booleans, True for a valid pixel, or None.
        bands_in_file: number of bands that the file has, by default as many as are read.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from jaxopt_thoth.unmixing import open_scene
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "cube.npy"
        >>> np.save(path, np.arange(1.0, 61.0).reshape(3, 4, 5))
        >>> source = open_scene(path)
        >>> source.height, source.width, source.num_bands, source.read(slice(1, 3)).shape
        (3, 4, 5, (5, 8))
    """

    path: Path
    height: int
    width: int
    bands: np.ndarray
    dtype: np.dtype
    fetch: Callable[[int, int], np.ndarray] = field(repr=False)
    wavelengths: np.ndarray | None = None
    wavelength_units: str | None = None
    nodata: float | None = None
    scale: float | np.ndarray = 1.0
    offset: float | np.ndarray = 0.0
    georeference: GeoReference | None = None
    mask: np.ndarray | None = field(default=None, repr=False)
    bands_in_file: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands_in_file", max(self.bands_in_file, len(self.bands)))
        if self.num_bands < 2:
            raise SceneError(f"{self.path.name}: needs at least 2 bands to read, got {self.num_bands}.")
        if self.height < 1 or self.width < 1:
            raise SceneError(f"{self.path.name}: the image is empty, {self.height} x {self.width} pixels.")
        if self.wavelengths is not None and self.wavelengths.shape != (self.num_bands,):
            raise SceneError(
                f"{self.path.name}: wavelengths must have shape ({self.num_bands},), one a band, "
                f"got {self.wavelengths.shape}."
            )

    @property
    def num_bands(self) -> int:
        """Number of bands that are read, L."""
        return len(self.bands)

    @property
    def num_pixels(self) -> int:
        """Number of pixels, N = height * width, those without data included."""
        return self.height * self.width

    def read(self, rows: slice) -> Float[np.ndarray, "L n"]:
        """Physical values of whole rows in JAX's default dtype, row-major; pixels without data are NaN in all bands.

        A pixel has no data where the mask is false, a band is not finite or equals a nonzero `nodata`, or all bands
        are zero.

        Raises:
            SceneError: when the rows cannot be read.
        """
        start, stop, step = rows.indices(self.height)
        if step != 1:
            raise SceneError(f"{self.path.name}: rows are read one after the other, got a step of {step}; pass 1.")
        try:
            stored = self.fetch(start, stop)
        except SceneError:
            raise
        # The libraries raise almost anything for damaged bytes.
        except Exception as error:
            raise SceneError(
                f"{self.path.name}: rows {start} to {stop} cannot be read; the file is damaged."
            ) from error
        if not np.array_equal(self.bands, np.arange(stored.shape[0])):
            stored = stored[self.bands]
        stored = stored.reshape(self.num_bands, -1)
        valid = valid_pixels(stored, self.nodata)
        if self.mask is not None:
            valid &= self.mask[start:stop].reshape(-1)
        values = stored.astype(jnp.result_type(float))
        for part, apply, neutral in ((self.scale, np.multiply, 1.0), (self.offset, np.add, 0.0)):
            factor = np.asarray(part, values.dtype)
            factor = factor[self.bands, None] if factor.ndim else factor
            if np.any(factor != neutral):
                apply(values, factor, out=values)
        values[:, ~valid] = np.nan
        return values

    def with_bands(self, keep: ArrayLike) -> "SceneSource":
        """The source of fewer bands: `keep` is (L,) booleans, or indices into the present bands.

        Raises:
            SceneError: when fewer than two bands are kept or `keep` does not fit.
        """
        chosen = np.asarray(keep)
        fits = chosen.shape == (self.num_bands,) if chosen.dtype == bool else chosen.dtype.kind in "iu"
        if not fits or chosen.ndim != 1:
            raise SceneError(
                f"{self.path.name}: keep must hold {self.num_bands} booleans, or indices of bands, "
                f"got {chosen.dtype}{chosen.shape}."
            )
        try:
            bands = self.bands[chosen]
            wavelengths = None if self.wavelengths is None else self.wavelengths[chosen]
        except IndexError as error:
            raise SceneError(f"{self.path.name}: keep names bands beyond the {self.num_bands} there are.") from error
        return replace(self, bands=bands, wavelengths=wavelengths)

    def with_mask(self, mask: ArrayLike) -> "SceneSource":
        """The source with fewer valid pixels: `mask` is (H, W) or (N,) booleans, True for a valid pixel.

        Raises:
            SceneError: when it does not fit the image.
        """
        given = np.asarray(mask)
        if given.shape not in ((self.height, self.width), (self.num_pixels,)) or given.dtype != bool:
            raise SceneError(
                f"{self.path.name}: mask must hold ({self.height}, {self.width}) booleans, got "
                f"{given.dtype}{given.shape}."
            )
        given = given.reshape(self.height, self.width)
        return replace(self, mask=given if self.mask is None else given & self.mask)


def valid_pixels(stored: np.ndarray, nodata: float | None) -> np.ndarray:
    """Which columns of stored values (L, n) hold data."""
    valid = (stored != 0).any(axis=0)
    if stored.dtype.kind == "f":
        valid &= np.isfinite(stored).all(axis=0)
    if nodata is not None and np.isfinite(nodata) and nodata != 0:
        # A marker may not be a number of the stored dtype: 1e20 in float32 is another one than in float64.
        marker = np.asarray(nodata, stored.dtype if stored.dtype.kind == "f" else np.float64)
        valid &= (stored != marker).all(axis=0)
    return valid
