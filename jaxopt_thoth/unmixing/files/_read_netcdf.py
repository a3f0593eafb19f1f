"""Images in NetCDF-4, among them those of EMIT."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from ._extra import import_extra
from ._georeference import GeoReference
from ._source import SceneSource


# The library is not safe for use by two threads, not even on two files.
LOCK = threading.Lock()
_USUAL = ("reflectance", "radiance")
_BAND_NAMES = ("band", "bands", "wavelength", "wavelengths", "lambda", "channel", "channels", "spectral")
_WAVELENGTHS = ("wavelengths", "wavelength")


def read_netcdf(path: Path, variable: str | None, nodata: float | None) -> SceneSource:
    """The image of a NetCDF file: the variable named, else its reflectance or radiance, else the only cube."""
    library = import_extra("netCDF4", "netcdf", path)

    def fetch(start: int, stop: int) -> np.ndarray:
        with LOCK, _opened(library, path) as file:
            stored = file[name]
            stored.set_auto_maskandscale(False)
            part = stored[tuple(slice(start, stop) if axis == row_axis else slice(None) for axis in range(3))]
        return np.asarray(part).transpose(band_axis, row_axis, column_axis)

    with LOCK, _opened(library, path) as file:
        everything = _variables(file)
        name = _image_name(everything, variable, path)
        image = everything[name]
        shape, dtype = image.shape, np.dtype(image.dtype)
        if dtype.kind not in "iuf":
            raise SceneError(f"{path.name}: {name} must hold real numbers, got {dtype}.")
        centers, units = _wavelengths(everything, path)
        band_axis = _band_axis(image.dimensions, shape, centers)
        row_axis, column_axis = (axis for axis in range(3) if axis != band_axis)
        good = _good_bands(everything, shape[band_axis])
        attributes = {key: image.getncattr(key) for key in image.ncattrs()}
        where = _georeference(file, everything, image, (shape[row_axis], shape[column_axis]))
    if centers is not None and centers.shape != (shape[band_axis],):
        centers, units = None, None
    stated = attributes.get("_FillValue", attributes.get("missing_value", -9999.0)) if nodata is None else nodata
    return SceneSource(
        path,
        shape[row_axis],
        shape[column_axis],
        good,
        dtype,
        fetch,
        wavelengths=None if centers is None else centers[good],
        wavelength_units=units,
        nodata=float(np.ravel(stated)[0]),
        scale=float(attributes.get("scale_factor", 1.0)),
        offset=float(attributes.get("add_offset", 0.0)),
        georeference=where,
        bands_in_file=shape[band_axis],
    )


def _opened(library: Any, path: Path) -> Any:
    try:
        return library.Dataset(path, "r")
    except (OSError, RuntimeError, UnicodeError) as error:
        raise SceneError(f"{path.name}: cannot be read, the file is damaged or not NetCDF.") from error


def _variables(group: Any, prefix: str = "") -> dict[str, Any]:
    """Every variable by its path, those of groups within included."""
    found = {prefix + name: variable for name, variable in group.variables.items()}
    for name, inner in group.groups.items():
        found |= _variables(inner, f"{prefix}{name}/")
    return found


def _image_name(everything: dict[str, Any], variable: str | None, path: Path) -> str:
    cubes = [name for name, stored in everything.items() if stored.ndim == 3]
    if variable is not None:
        if variable not in cubes:
            kind = "has 3 axes in" if variable in everything else "is in"
            raise SceneError(f"{path.name}: no variable {variable!r} {kind} the file; it has {_listed(everything)}.")
        return variable
    named = [name for name in cubes if name.split("/")[-1].lower() in _USUAL]
    chosen = named if len(named) == 1 else cubes
    if len(chosen) != 1:
        what = "no variable of 3 axes" if not cubes else f"several cubes ({', '.join(sorted(cubes))})"
        mend = f"it has {_listed(everything)}" if not cubes else "pass variable= with the one to read"
        raise SceneError(f"{path.name}: holds {what}; {mend}.")
    return chosen[0]


def _listed(everything: dict[str, Any]) -> str:
    return ", ".join(sorted(everything)) or "none"


def _wavelengths(everything: dict[str, Any], path: Path) -> tuple[np.ndarray | None, str | None]:
    for name, stored in everything.items():
        if name.split("/")[-1].lower() in _WAVELENGTHS and stored.ndim == 1:
            values = np.ma.getdata(stored[:])
            if values.dtype.kind not in "iuf":
                raise SceneError(f"{path.name}: {name} must hold numbers, got {values.dtype}.")
            return values.astype(float), getattr(stored, "units", None)
    return None, None


def _good_bands(everything: dict[str, Any], count: int) -> np.ndarray:
    for name, stored in everything.items():
        if name.split("/")[-1].lower() == "good_wavelengths" and stored.shape == (count,):
            return np.flatnonzero(np.ma.getdata(stored[:]) > 0)
    return np.arange(count)


def _band_axis(dimensions: tuple[str, ...], shape: tuple[int, ...], wavelengths: np.ndarray | None) -> int:
    """By the name of the dimension, else by the number of wavelengths, else the last."""
    for axis, name in enumerate(dimensions):
        if name.lower() in _BAND_NAMES:
            return axis
    matching = [] if wavelengths is None else [axis for axis in range(3) if shape[axis] == wavelengths.size]
    return matching[0] if len(matching) == 1 else 2


def _georeference(file: Any, everything: dict[str, Any], image: Any, size: tuple[int, int]) -> GeoReference | None:
    found: dict[str, np.ndarray] = {}
    for name, stored in everything.items():
        kind = {"lat": "latitude", "latitude": "latitude", "lon": "longitude", "longitude": "longitude"}.get(
            name.split("/")[-1].lower()
        )
        if kind is not None and stored.shape == size:
            found[kind] = np.asarray(np.ma.filled(stored[:].astype(float), np.nan))
    crs = getattr(file, "spatial_ref", None)
    mapping = everything.get(getattr(image, "grid_mapping", ""))
    transform = None
    if mapping is not None:
        crs = getattr(mapping, "crs_wkt", None) or getattr(mapping, "spatial_ref", None) or crs
        transform = _six(getattr(mapping, "GeoTransform", None))
    # In the files of EMIT the transform of the file is that of the projected grid, not of the sensor's.
    if transform is None and len(found) < 2:
        transform = _six(getattr(file, "geotransform", None))
    if crs is None and transform is None and len(found) < 2:
        return None
    return GeoReference(transform, crs, found.get("latitude"), found.get("longitude"))


def _six(stated: Any) -> tuple[float, ...] | None:
    """Six numbers in GDAL's order (c, a, b, f, d, e), of an array or of text, as a transform."""
    if stated is None:
        return None
    try:
        numbers = [float(v) for v in (stated.split() if isinstance(stated, str) else np.ravel(stated))]
    except ValueError:
        return None
    if len(numbers) != 6:
        return None
    c, a, b, f, d, e = numbers
    return (a, b, c, d, e, f)
