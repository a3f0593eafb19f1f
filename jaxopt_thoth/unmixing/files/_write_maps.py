from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import ArrayLike

from .._scene_error import SceneError
from ._georeference import GeoReference
from ._map_files import map_file
from ._source import SceneSource


def write_maps(
    path: str | PathLike[str],
    maps: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    like: SceneSource | GeoReference | None = None,
) -> Path:
    """Write maps of an image as ENVI, GeoTIFF, NetCDF, .npz or .npy, by the suffix, where the image lies kept.

    Values are written as float32, NaN where there are none. ENVI (.hdr or .img) comes as a header and an image; NetCDF
    has a variable for each map; .npz has `maps`, `names`, and `transform` and `crs` where they are known; .npy has
    the maps alone. An image without a regular grid, in the geometry of its sensor, gets its latitudes and longitudes in
    NetCDF and ground control points in GeoTIFF.

    Args:
        path: the file, replaced when it exists.
        maps: (K, H, W), or (H, W) for one.
        names: K names of the maps, "map 1" and so on by default.
        like: the source of the image, or its georeference.

    Returns:
        The file that holds the values.

    Raises:
        SceneError: for an unknown suffix, shapes that disagree, a folder that is not there, or without the library that
            writes the format.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> path = write_maps(pathlib.Path(tempfile.mkdtemp()) / "maps.npz", np.ones((2, 3, 4)), ["soil", "water"])
        >>> np.load(path)["names"].tolist()
        ['soil', 'water']
    """
    file = Path(path)
    values = np.asarray(maps, np.float32)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.size == 0:
        raise SceneError(f"{file.name}: maps must have shape (K, H, W), got {values.shape}.")
    count, height, width = values.shape
    titles = tuple(names) if names is not None else tuple(f"map {k + 1}" for k in range(count))
    if len(titles) != count:
        raise SceneError(f"{file.name}: names must hold {count} names, one a map, got {len(titles)}.")
    if isinstance(like, SceneSource) and (like.height, like.width) != (height, width):
        raise SceneError(
            f"{file.name}: maps are {height} x {width} pixels, but {like.path.name} has {like.height} x {like.width}."
        )
    where = like.georeference if isinstance(like, SceneSource) else like
    try:
        if file.suffix.lower() == ".npz":
            return _write_npz(file, values, titles, where)
        target = map_file(file, titles, height, width, where)
        target.create()
        target.write(0, values)
    except OSError as error:
        raise SceneError(f"{file.name}: cannot be written ({error.strerror or error}).") from error
    return target.data_path


def _write_npz(path: Path, maps: np.ndarray, names: tuple[str, ...], where: GeoReference | None) -> Path:
    entries = {"maps": maps, "names": np.array(names)}
    if where is not None and where.transform is not None:
        entries["transform"] = np.array(where.transform)
    if where is not None and where.crs is not None:
        entries["crs"] = np.array(where.crs)
    # A handle, since numpy appends its own suffix to a name that ends in .NPZ.
    with open(path, "wb") as handle:
        np.savez_compressed(handle, **entries)  # type: ignore[arg-type]
    return path
