from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ._pixel_order import is_smoother_otherwise, PixelOrder, to_row_major
from ._scene import Scene
from ._scene_error import SceneError
from ._scene_file import SceneFile, SYNONYMS
from .files._open_scene import open_scene
from .files._read_arrays import NAMED_SUFFIXES, read_arrays
from .files._source import valid_pixels
from .files._stored_scene import whole_scene


def load_scene(
    path: str | PathLike[str],
    *,
    order: PixelOrder | None = None,
    nodata: float | None = None,
    variable: str | None = None,
) -> Scene:
    """Read a scene from a file, by its suffix: arrays in the layout the field shares, or an image.

    Images are ENVI (.hdr and its data file), GeoTIFF and NetCDF, EMIT's among them; `open_scene` says how they are
    read. Arrays are .npz, MATLAB (.mat, v4 to v7.3), HDF5 (.h5), or .npy with a cube (H, W, L) alone.

    Keys of arrays, with the synonyms of public .mat files: `Y`, `V` (L, N), or a cube (H, W, L) under any name, stored
    values that `scale` (or 1 / `maxValue`) multiplies into physical ones, absent where `Y = E A`; `H`, `nRow` and `W`,
    `nCol`; `E`, `M` (L, p); `A` (p, N), (H, W, p) or (p, H, W); `D` (L, M) a library; `wavelength(s)` (L,) in the
    file's unit; `labels`, `cood` names of the endmembers; `names` of the library; `mask` (N,) or (H, W), true where
    valid; `nodata`; `p`, `L`, `N`, which must agree with the arrays.

    Lists of pixels are taken as row-major in .npz and as column-major in .mat files, unless the file has an `order`
    ("row-major" or "column-major") or the argument overrides both; the scene is always row-major. When the image is
    clearly smoother in the order that was not assumed, an error says which to pass; a given `order` is obeyed.

    A pixel is masked when a band is NaN or infinite or its stored value equals a nonzero `nodata` (the argument, else
    the file's, else -9999), or when all are zero.

    Args:
        path: the file.
        order: "C" for row-major lists of pixels, "F" for column-major ones, None for the file's own.
        nodata: stored value that marks a pixel without data.
        variable: name of the array that holds the image, where the file has several.

    Returns:
        The scene, in JAX's default floating-point dtype.

    Raises:
        SceneError: when the file is missing, unreadable, of an unknown kind, lacks a key or holds arrays that
            disagree, or when the library that reads it is not installed; one line that says what to mend.

    Example:
        >>> import tempfile, pathlib, numpy as np
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "scene.npz"
        >>> np.savez(path, Y=np.arange(1.0, 25.0).reshape(4, 6), H=2, W=3)
        >>> load_scene(path).pixels.shape
        (4, 6)
    """
    file = Path(path)
    if order not in (None, "C", "F"):
        raise SceneError(f"order must be 'C' (row-major), 'F' (column-major) or None, got {order!r}.")
    if file.suffix.lower() not in NAMED_SUFFIXES:
        return whole_scene(open_scene(file, order=order, nodata=nodata, variable=variable))
    arrays = read_arrays(file, variable)
    try:
        return _build(SceneFile(arrays), order, "F" if file.suffix.lower() == ".mat" else "C", nodata)
    except SceneError as error:
        raise SceneError(f"{file.name}: {error}") from None


def _build(file: SceneFile, order: PixelOrder | None, usual: PixelOrder, nodata: float | None) -> Scene:
    endmembers, abundances = file.endmembers(), file.numeric("abundances")
    stored = file.pixels()
    stored = None if stored is None else np.asarray(stored)
    if stored is None and (endmembers is None or abundances is None):
        raise file.lacks("needs Y (L, N), a cube (H, W, L), or both E and A")
    height, width = file.image_size(stored)
    layout = _Layout(height, width, order or file.stated_order() or usual)

    fractions = None if abundances is None else layout.abundances(abundances)
    if stored is None:
        assert endmembers is not None and fractions is not None
        if endmembers.shape[1] != fractions.shape[0]:
            raise SceneError(f"E {endmembers.shape} and A {fractions.shape} disagree on the number of endmembers.")
        raw = endmembers.astype(np.float64) @ fractions.astype(np.float64)
    else:
        raw = layout.cube(stored) if stored.ndim == 3 else layout.pixel_list(stored, "Y")
    _check_counts(file, raw, endmembers, fractions)

    valid = valid_pixels(raw, file.marker(nodata))
    mask = file.numeric("mask", boolean=True)
    if mask is not None:
        valid &= layout.pixel_list(mask.reshape(-1) if 1 in mask.shape else mask, "mask").astype(bool)
    if order is None and valid.any():
        # A cube states its own order; the abundances next to it may still be listed in another.
        is_list = stored is None or stored.ndim == 2
        probe = raw if is_list else fractions if abundances is not None and abundances.ndim == 2 else None
        if probe is not None:
            layout.check_order(probe.astype(np.float64), valid)

    dtype = np.dtype(jnp.result_type(float))
    return Scene(
        np.where(valid[None, :], raw, 0).astype(dtype) * dtype.type(file.stored_scale()),
        height,
        width,
        wavelengths=file.vector("wavelengths"),
        endmembers=endmembers,
        abundances=fractions,
        library=file.numeric("library"),
        mask=valid,
        names=file.text("names"),
        library_names=file.text("library_names"),
    )


@dataclass(frozen=True)
class _Layout:
    """How the file lists its pixels; each method gives row-major values (..., N)."""

    height: int
    width: int
    order: PixelOrder

    def cube(self, values: np.ndarray) -> np.ndarray:
        """Pixels (L, N) of a cube (H, W, L)."""
        if values.shape[:2] != (self.height, self.width):
            raise SceneError(
                f"the cube {values.shape} must be (H, W, L) with H = {self.height} and W = {self.width}; move its axes."
            )
        return values.reshape(self.height * self.width, -1).T

    def pixel_list(self, values: np.ndarray, name: str) -> np.ndarray:
        """Values (..., N) of a list (..., N), or (N,) of an image (H, W)."""
        count = self.height * self.width
        if name == "mask" and values.shape == (self.height, self.width):
            return values.reshape(-1)
        if values.shape[-1] != count:
            hint = "; it looks transposed, store its transpose" if values.shape[0] == count else ""
            raise SceneError(
                f"{name} has shape {values.shape}, but H * W = {self.height} * {self.width} = {count} pixels "
                f"must be on the last axis{hint}."
            )
        return to_row_major(values, self.height, self.width, self.order)

    def abundances(self, values: np.ndarray) -> np.ndarray:
        """Abundances (p, N) of (p, N), (H, W, p) or (p, H, W)."""
        size = (self.height, self.width)
        if values.ndim == 2:
            return self.pixel_list(values, "A")
        if values.ndim == 3 and values.shape[:2] == size:
            return self.cube(values)
        if values.ndim == 3 and values.shape[1:] == size:
            return values.reshape(values.shape[0], -1)
        raise SceneError(f"A must have shape (p, N), (H, W, p) or (p, H, W), got {values.shape}.")

    def check_order(self, values: np.ndarray, valid: np.ndarray) -> None:
        """Raise when the image is clearly smoother in the other order (`values`, `valid` are row-major by `order`)."""
        if is_smoother_otherwise(values, valid, self.height, self.width, self.order):
            names = {"C": "row-major", "F": "column-major"}
            other = "F" if self.order == "C" else "C"
            raise SceneError(
                f"the pixels were taken as {names[self.order]} but look {names[other]}; pass order={other!r} "
                f"(or order={self.order!r} to insist)."
            )


def _check_counts(
    file: SceneFile, raw: np.ndarray, endmembers: np.ndarray | None, abundances: np.ndarray | None
) -> None:
    num = endmembers.shape[1] if endmembers is not None else None if abundances is None else abundances.shape[0]
    for entry, actual in (("num_bands", raw.shape[0]), ("num_pixels", raw.shape[1]), ("num_endmembers", num)):
        stated = file.size(entry)
        if stated is not None and actual is not None and stated != actual:
            raise SceneError(f"{SYNONYMS[entry][0]} = {stated}, but the arrays of the file have {actual}.")
