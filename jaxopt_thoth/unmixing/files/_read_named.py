"""Images in files of named arrays: .npz, .npy, .mat and HDF5."""

from pathlib import Path
from typing import Any

import numpy as np

from .._pixel_order import PixelOrder
from .._scene_error import SceneError
from .._scene_file import SceneFile
from ._read_arrays import read_arrays
from ._source import SceneSource
from ._stored import StoredArray


def read_named(path: Path, variable: str | None, order: PixelOrder | None, nodata: float | None) -> SceneSource:
    """The image of a file of named arrays, under the names that `load_scene` knows."""
    file = SceneFile(read_arrays(path, variable, lazily=True))
    try:
        return _build(file, path, order, nodata)
    except SceneError as error:
        text = str(error)
        raise SceneError(text if text.startswith(f"{path.name}: ") else f"{path.name}: {text}") from None


def _build(file: SceneFile, path: Path, order: PixelOrder | None, nodata: float | None) -> SceneSource:
    stored = file.pixels()
    height, width = file.image_size(stored)
    usual: PixelOrder = "F" if path.suffix.lower() == ".mat" else "C"
    listing = order or file.stated_order() or usual
    if stored is None:
        bands, dtype, fetch = _product(file, height, width, listing)
    elif stored.ndim == 3:
        if stored.shape[:2] != (height, width):
            raise SceneError(
                f"the cube {stored.shape} must be (H, W, L) with H = {height} and W = {width}; move its axes."
            )
        bands, dtype, fetch = stored.shape[2], stored.dtype, _cube_rows(stored)
    else:
        if stored.shape[1] != height * width:
            raise SceneError(
                f"Y has shape {stored.shape}, but H * W = {height} * {width} = {height * width} pixels "
                "must be on the last axis."
            )
        bands, dtype, fetch = stored.shape[0], stored.dtype, _list_rows(stored, height, width, listing)
    mask = file.numeric("mask", boolean=True)
    source = SceneSource(
        path,
        height,
        width,
        np.arange(bands),
        np.dtype(dtype),
        fetch,
        wavelengths=file.vector("wavelengths"),
        nodata=file.marker(nodata),
        scale=file.stored_scale(),
    )
    if mask is None:
        return source
    if mask.shape != (height, width):
        if mask.size != height * width:
            raise SceneError(f"mask has shape {mask.shape}, but there are H * W = {height} * {width} pixels.")
        mask = mask.reshape(height, width) if listing == "C" else mask.reshape(width, height).T
    return source.with_mask(mask.astype(bool))


def _part(array: Any, index: tuple[slice, ...]) -> np.ndarray:
    return array.fetch(index) if isinstance(array, StoredArray) else array[index]


def _cube_rows(cube: Any) -> Any:
    everything = slice(None)
    return lambda start, stop: _part(cube, (slice(start, stop), everything, everything)).transpose(2, 0, 1)


def _list_rows(values: Any, height: int, width: int, listing: PixelOrder) -> Any:
    """Rows of an image (L, rows, W) out of a list of its pixels (L, N)."""

    def by_rows(start: int, stop: int) -> np.ndarray:
        return _part(values, (slice(None), slice(start * width, stop * width))).reshape(
            values.shape[0], stop - start, width
        )

    def by_columns(start: int, stop: int) -> np.ndarray:
        rows = [_part(values, (slice(None), slice(row, None, height))) for row in range(start, stop)]
        return np.stack(rows, axis=1) if rows else np.empty((values.shape[0], 0, width), values.dtype)

    return by_rows if listing == "C" else by_columns


def _product(file: SceneFile, height: int, width: int, listing: PixelOrder) -> tuple[int, np.dtype, Any]:
    """Pixels that the file leaves to be computed, `E A`."""
    endmembers, abundances = file.endmembers(), file.numeric("abundances")
    if endmembers is None or abundances is None:
        raise file.lacks("needs Y (L, N), a cube (H, W, L), or both E and A")
    if abundances.ndim == 3:
        maps = abundances if abundances.shape[1:] == (height, width) else abundances.transpose(2, 0, 1)
        if maps.shape[1:] != (height, width):
            raise SceneError(f"A must have shape (p, N), (H, W, p) or (p, H, W), got {abundances.shape}.")
        rows = lambda start, stop: maps[:, start:stop]
    elif abundances.shape[-1] == height * width:
        rows = _list_rows(abundances, height, width, listing)
    else:
        raise SceneError(f"A has shape {abundances.shape}, but there are H * W = {height} * {width} pixels.")
    if endmembers.shape[1] != rows(0, 1).shape[0]:
        raise SceneError(f"E {endmembers.shape} and A {abundances.shape} disagree on the number of endmembers.")
    spectra = endmembers.astype(np.float64)
    fetch = lambda start, stop: np.tensordot(spectra, rows(start, stop).astype(np.float64), axes=1)
    return spectra.shape[0], np.dtype(np.float64), fetch
