"""Files of maps (K, H, W), laid out once and then filled by rows; each call opens and closes the file, so that what is
written survives the process."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from ._envi_map_info import map_info_of
from ._extra import import_extra
from ._georeference import GeoReference
from ._read_netcdf import LOCK


@dataclass(frozen=True)
class MapFile(ABC):
    """Where K maps of H x W values go: `create` lays the file out, full of NaN, and `write` fills rows."""

    path: Path
    names: tuple[str, ...]
    height: int
    width: int
    where: GeoReference | None

    @property
    def data_path(self) -> Path:
        """The file that holds the values."""
        return self.path

    @abstractmethod
    def create(self) -> None:
        """Lay the file out."""

    @abstractmethod
    def write(self, start: int, block: np.ndarray) -> None:
        """Write a block (K, rows, W) from row `start` on."""


class NumpyMaps(MapFile):
    """A .npy file of one array (K, H, W)."""

    def create(self) -> None:
        shape = (len(self.names), self.height, self.width)
        _fill(np.lib.format.open_memmap(self.path, "w+", np.float32, shape), self.height)

    def write(self, start: int, block: np.ndarray) -> None:
        maps = np.lib.format.open_memmap(self.path, "r+")
        maps[:, start : start + block.shape[1]] = block
        maps.flush()


class EnviMaps(MapFile):
    """An ENVI header and, beside it, an image of float32, band after band."""

    @property
    def data_path(self) -> Path:
        suffix = self.path.suffix
        return self.path.with_suffix(".img") if suffix.lower() == ".hdr" else self.path

    def create(self) -> None:
        envi = import_extra("spectral.io.envi", "envi", self.path)
        header: dict[str, Any] = {
            "description": "{Maps of an unmixing}",
            "samples": self.width,
            "lines": self.height,
            "bands": len(self.names),
            "header offset": 0,
            "file type": "ENVI Standard",
            "data type": 4,
            "interleave": "bsq",
            "byte order": 0,
            # Commas and braces end an item of a header.
            "band names": [_without(name, ",{}\n") for name in self.names],
            "data ignore value": "nan",
        }
        if self.where is not None:
            header |= map_info_of(self.where)
        envi.write_envi_header(str(self.data_path.with_suffix(".hdr")), header)
        shape = (len(self.names), self.height, self.width)
        _fill(np.memmap(self.data_path, "<f4", "w+", 0, shape), self.height)

    def write(self, start: int, block: np.ndarray) -> None:
        shape = (len(self.names), self.height, self.width)
        maps = np.memmap(self.data_path, "<f4", "r+", 0, shape)
        maps[:, start : start + block.shape[1]] = block
        maps.flush()


class GeotiffMaps(MapFile):
    """An uncompressed GeoTIFF of float32, NaN its marker, a band for each map; images in the geometry of the sensor get
    ground control points."""

    def create(self) -> None:
        rasterio = import_extra("rasterio", "geotiff", self.path)
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": self.height,
            "width": self.width,
            "count": len(self.names),
            "dtype": "float32",
            "nodata": np.nan,
            "interleave": "band",
            "BIGTIFF": "IF_SAFER",
        }
        where = self.where
        if where is not None and where.crs is not None:
            profile["crs"] = rasterio.crs.CRS.from_user_input(where.crs)
        if where is not None and where.transform is not None:
            profile["transform"] = rasterio.transform.Affine(*where.transform)
        with warnings.catch_warnings():
            # An image without a place on the Earth is fine here.
            warnings.simplefilter("ignore")
            with rasterio.open(self.path, "w", **profile) as image:
                for band, name in enumerate(self.names, 1):
                    image.set_band_description(band, name)
                if where is not None and where.transform is None and where.latitude is not None:
                    points = _control_points(rasterio, where)
                    if points:
                        image.gcps = (points, profile.get("crs", rasterio.crs.CRS.from_epsg(4326)))
                rows = max(1, 2**22 // self.width)
                for start in range(0, self.height, rows):
                    count = min(rows, self.height - start)
                    empty = np.full((len(self.names), count, self.width), np.nan, np.float32)
                    image.write(empty, window=rasterio.windows.Window(0, start, self.width, count))

    def write(self, start: int, block: np.ndarray) -> None:
        rasterio = import_extra("rasterio", "geotiff", self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(self.path, "r+") as image:
                window = rasterio.windows.Window(0, start, self.width, block.shape[1])
                image.write(np.asarray(block, np.float32), window=window)


class NetcdfMaps(MapFile):
    """A NetCDF-4 file with a variable (y, x) of float32 for each map, after the conventions of CF."""

    def create(self) -> None:
        library = import_extra("netCDF4", "netcdf", self.path)
        with LOCK, library.Dataset(self.path, "w", format="NETCDF4") as file:
            file.Conventions = "CF-1.8"
            file.createDimension("y", self.height)
            file.createDimension("x", self.width)
            attributes = self._place(file)
            for name, title in zip(self._variables(), self.names):
                # Contiguous, so that a write that is cut short leaves the file readable.
                stored = file.createVariable(name, "f4", ("y", "x"), fill_value=np.nan, contiguous=True)
                stored.setncatts({"long_name": title, **attributes})

    def write(self, start: int, block: np.ndarray) -> None:
        library = import_extra("netCDF4", "netcdf", self.path)
        with LOCK, library.Dataset(self.path, "r+") as file:
            for name, rows in zip(self._variables(), block):
                file[name][start : start + block.shape[1]] = rows

    def _variables(self) -> list[str]:
        """Names that NetCDF allows, no two the same."""
        found: list[str] = []
        for name in self.names:
            plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name).strip("_") or "map"
            plain = f"map_{plain}" if plain[0].isdigit() or plain in ("x", "y", "crs", "lat", "lon") else plain
            found.append(plain if plain not in found else f"{plain}_{len(found)}")
        return found

    def _place(self, file: Any) -> dict[str, str]:
        """Write the georeference and give the attributes that point to it."""
        where = self.where
        if where is None:
            return {}
        attributes = {}
        if where.crs is not None or where.transform is not None:
            mapping = file.createVariable("crs", "i4")
            if where.crs is not None:
                mapping.setncatts({"crs_wkt": where.crs, "spatial_ref": where.crs})
            if where.transform is not None:
                a, b, c, d, e, f = where.transform
                mapping.GeoTransform = " ".join(repr(v) for v in (c, a, b, f, d, e))
                if b == 0 and d == 0:
                    file.createVariable("x", "f8", ("x",))[:] = c + a * (np.arange(self.width) + 0.5)
                    file.createVariable("y", "f8", ("y",))[:] = f + e * (np.arange(self.height) + 0.5)
            attributes["grid_mapping"] = "crs"
        if where.latitude is not None and where.longitude is not None:
            for name, values, units in (("lat", where.latitude, "north"), ("lon", where.longitude, "east")):
                stored = file.createVariable(name, "f8", ("y", "x"), fill_value=np.nan)
                stored.units = f"degrees_{units}"
                stored[:] = values
            attributes["coordinates"] = "lat lon"
        return attributes


_KINDS: dict[str, type[MapFile]] = {
    ".npy": NumpyMaps,
    ".hdr": EnviMaps,
    ".img": EnviMaps,
    ".tif": GeotiffMaps,
    ".tiff": GeotiffMaps,
    ".nc": NetcdfMaps,
}
MAP_SUFFIXES = tuple(_KINDS)


def map_file(path: Path, names: tuple[str, ...], height: int, width: int, where: GeoReference | None) -> MapFile:
    """The file of maps that the suffix names; raises `SceneError` for another suffix or without the folder."""
    suffix = path.suffix.lower()
    if suffix not in _KINDS:
        raise SceneError(f"{path.name}: maps cannot be written as {suffix!r}; use one of {', '.join(MAP_SUFFIXES)}.")
    if not path.parent.is_dir():
        raise SceneError(f"{path.name}: cannot be written, there is no folder {path.parent}; make it first.")
    return _KINDS[suffix](path, names, height, width, where)


def _fill(maps: np.ndarray, height: int) -> None:
    for row in range(0, height, 256):
        maps[:, row : row + 256] = np.nan
    maps.flush()  # type: ignore[attr-defined]


def _without(text: str, characters: str) -> str:
    return text.translate({ord(c): " " for c in characters})


def _control_points(rasterio: Any, where: GeoReference) -> list[Any]:
    """A lattice of at most 15 x 15 pixels with their longitudes and latitudes."""
    assert where.latitude is not None and where.longitude is not None
    height, width = where.latitude.shape
    rows, columns = (np.unique(np.linspace(0, size - 1, 15).round().astype(int)) for size in (height, width))
    point = rasterio.control.GroundControlPoint
    return [
        point(row + 0.5, column + 0.5, float(where.longitude[row, column]), float(where.latitude[row, column]))
        for row in rows
        for column in columns
        if np.isfinite(where.longitude[row, column]) and np.isfinite(where.latitude[row, column])
    ]
