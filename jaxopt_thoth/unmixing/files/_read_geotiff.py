"""Images in GeoTIFF and whatever else rasterio opens under that suffix."""

import warnings
from pathlib import Path

import numpy as np

from .._scene_error import SceneError
from ._extra import import_extra
from ._georeference import GeoReference
from ._source import SceneSource


def read_geotiff(path: Path, nodata: float | None) -> SceneSource:
    """The image of a GeoTIFF."""
    rasterio = import_extra("rasterio", "geotiff", path)
    try:
        with warnings.catch_warnings():
            # An image without a place on the Earth is fine here.
            warnings.simplefilter("ignore")
            opened = rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        raise SceneError(f"{path.name}: cannot be read, the file is damaged or not a GeoTIFF.") from error
    with opened as image:
        count, height, width = image.count, image.height, image.width
        dtype = np.dtype(image.dtypes[0])
        if dtype.kind not in "iuf":
            raise SceneError(f"{path.name}: must hold real numbers, got {dtype}.")
        tags = [image.tags(band) for band in range(1, count + 1)]
        stated = image.nodata if nodata is None else nodata
        scales, offsets = np.array(image.scales), np.array(image.offsets)
        transform = None if image.transform.is_identity else tuple(image.transform)[:6]
        crs = None if image.crs is None else image.crs.to_wkt()
        descriptions = image.descriptions

    def fetch(start: int, stop: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path) as image:
                window = rasterio.windows.Window(0, start, width, stop - start)
                rows: np.ndarray = image.read(window=window)
                return rows

    wavelengths = [_number(tag.get("wavelength", text)) for tag, text in zip(tags, descriptions)]
    centers = None if any(value is None for value in wavelengths) else np.array(wavelengths, float)
    return SceneSource(
        path,
        height,
        width,
        np.arange(count),
        dtype,
        fetch,
        wavelengths=centers,
        wavelength_units=tags[0].get("wavelength_units") if tags else None,
        nodata=-9999.0 if stated is None else stated,
        scale=scales,
        offset=offsets,
        georeference=None if transform is None and crs is None else GeoReference(transform, crs),
    )


def _number(text: str | None) -> float | None:
    """The number a band is described by ("412.5", "412.5 nm"), or None."""
    try:
        return float((text or "").split()[0])
    except (IndexError, ValueError):
        return None
