from os import PathLike
from pathlib import Path

from .._pixel_order import PixelOrder
from .._scene_error import SceneError
from ._read_arrays import NAMED_SUFFIXES
from ._read_envi import read_envi
from ._read_geotiff import read_geotiff
from ._read_named import read_named
from ._read_netcdf import read_netcdf
from ._source import SceneSource


ENVI_SUFFIXES = (".hdr", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".hyspex")
GEOTIFF_SUFFIXES = (".tif", ".tiff")
NETCDF_SUFFIXES = (".nc", ".nc4", ".cdf")
READ_SUFFIXES = (*NAMED_SUFFIXES, *NETCDF_SUFFIXES, *GEOTIFF_SUFFIXES, *ENVI_SUFFIXES)


def open_scene(
    path: str | PathLike[str],
    *,
    order: PixelOrder | None = None,
    nodata: float | None = None,
    variable: str | None = None,
) -> SceneSource:
    """Open an image without reading its pixels, by the suffix of its file.

    ENVI (.hdr, or the data file beside it; needs the extra `envi`), GeoTIFF (.tif; `geotiff`), NetCDF (.nc, with the
    layout of EMIT's; `netcdf`), HDF5 and MATLAB v7.3 (.h5, .hdf5, .mat; `hdf5`), MATLAB up to v7 (.mat), .npz and
    .npy, a cube (H, W, L). The keys of .npz, .mat and HDF5 files are those of `load_scene`. ENVI, GeoTIFF, NetCDF,
    HDF5, .npy and uncompressed .npz are read row by row; compressed .npz and .mat up to v7 are read whole.

    Bands that the file marks as bad (`bbl` of ENVI, `good_wavelengths` of EMIT) are left out; scale factors and offsets
    of the file are applied.

    Args:
        path: the file.
        order: "C" or "F" for lists of pixels by row or by column, None for the custom of the file.
        nodata: stored value that marks missing data; None for the file's own, else -9999.
        variable: name of the array to read, where the file holds several.

    Returns:
        The source.

    Raises:
        SceneError: when the file is missing, truncated or of an unknown kind, its header is wrong, it holds no image,
            or the library that reads it is not installed.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "scene.npz"
        >>> np.savez(path, Y=np.arange(1.0, 25.0).reshape(4, 6), H=2, W=3)
        >>> open_scene(path).read(slice(0, 1))[:, 0].tolist()
        [1.0, 7.0, 13.0, 19.0]
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if order not in (None, "C", "F"):
        raise SceneError(f"order must be 'C' (row-major), 'F' (column-major) or None, got {order!r}.")
    if suffix not in READ_SUFFIXES:
        raise SceneError(f"{file.name}: unknown kind of file {suffix!r}; pass one of {', '.join(READ_SUFFIXES)}.")
    if not file.exists():
        raise SceneError(f"{file.name}: no such file.")
    if not file.is_file():
        raise SceneError(f"{file.name}: is not a file.")
    if suffix in NAMED_SUFFIXES:
        return read_named(file, variable, order, nodata)
    if suffix in NETCDF_SUFFIXES:
        return read_netcdf(file, variable, nodata)
    if variable is not None:
        raise SceneError(f"{file.name}: holds one image; leave variable= out.")
    return read_geotiff(file, nodata) if suffix in GEOTIFF_SUFFIXES else read_envi(file, nodata)
