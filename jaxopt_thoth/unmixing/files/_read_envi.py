"""Images in ENVI's format: a header of text, and plain numbers beside it."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from ._envi_map_info import georeference_of
from ._extra import import_extra
from ._source import SceneSource
from ._stored import mapped


_DATA_SUFFIXES = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".hyspex")
_AXES = {
    "bsq": ("bands", "lines", "samples"),
    "bil": ("lines", "bands", "samples"),
    "bip": ("lines", "samples", "bands"),
}


def read_envi(path: Path, nodata: float | None) -> SceneSource:
    """The image of an ENVI header, or of the data file next to one."""
    header_path, data_path = _pair(path)
    header = _header(header_path)
    sizes = {name: _count(header, name, header_path) for name in ("lines", "samples", "bands")}
    envi = import_extra("spectral.io.envi", "envi", path)
    code = str(header.get("data type"))
    if code not in envi.envi_to_dtype or code in ("6", "9"):
        raise SceneError(f"{header_path.name}: 'data type = {code}' is not a type of real numbers; correct the header.")
    order = str(header.get("byte order", "0")).strip()
    if order not in ("0", "1"):
        raise SceneError(f"{header_path.name}: 'byte order = {order}' must be 0 or 1; correct the header.")
    dtype = np.dtype(envi.envi_to_dtype[code]).newbyteorder("<" if order == "0" else ">")
    interleave = str(header.get("interleave", "bsq")).lower()
    if interleave not in _AXES:
        raise SceneError(
            f"{header_path.name}: 'interleave = {interleave}' must be bsq, bil or bip; correct the header."
        )
    if "library" in str(header.get("file type", "")).lower():
        raise SceneError(f"{header_path.name}: is a spectral library, not an image.")
    if str(header.get("file compression", "0")).strip() != "0":
        raise SceneError(f"{header_path.name}: compressed ENVI files are not read; save it uncompressed.")
    axes = _AXES[interleave]
    offset = int(_number(header, "header offset", header_path, 0.0))
    if offset < 0:
        raise SceneError(f"{header_path.name}: 'header offset' must not be negative; correct the header.")
    array = mapped(data_path, dtype, tuple(sizes[axis] for axis in axes), offset=offset)

    def fetch(start: int, stop: int) -> np.ndarray:
        part = array.fetch(tuple(slice(start, stop) if axis == "lines" else slice(None) for axis in axes))
        return part.transpose([axes.index(axis) for axis in ("bands", "lines", "samples")])

    wavelengths = _numbers(header, "wavelength", sizes["bands"], header_path)
    good = _numbers(header, "bbl", sizes["bands"], header_path)
    bands = np.arange(sizes["bands"]) if good is None else np.flatnonzero(good)
    divisor = _number(header, "reflectance scale factor", header_path, 1.0)
    if not (np.isfinite(divisor) and divisor > 0):
        raise SceneError(f"{header_path.name}: 'reflectance scale factor' must be positive; correct the header.")
    if nodata is None and "data ignore value" in header:
        nodata = _number(header, "data ignore value", header_path, 0.0)
    return SceneSource(
        data_path,
        sizes["lines"],
        sizes["samples"],
        bands,
        dtype,
        fetch,
        wavelengths=None if wavelengths is None else wavelengths[bands],
        wavelength_units=str(header["wavelength units"]) if "wavelength units" in header else None,
        nodata=-9999.0 if nodata is None else nodata,
        scale=1 / divisor,
        georeference=georeference_of(header, header_path),
        bands_in_file=sizes["bands"],
    )


def data_path_of(header: Path) -> Path | None:
    """The data file that belongs to a header: the header's name without its suffix, or with one of the usual."""
    stem = header.with_suffix("")
    for suffix in _DATA_SUFFIXES:
        for candidate in (Path(f"{stem}{suffix}"), Path(f"{stem}{suffix.upper()}")):
            if candidate.is_file() and candidate != header:
                return candidate
    return None


def _pair(path: Path) -> tuple[Path, Path]:
    if path.suffix.lower() == ".hdr":
        data = data_path_of(path)
        if data is None:
            raise SceneError(f"{path.name}: has no data file beside it; put {path.stem}.img next to the header.")
        return path, data
    for candidate in (path.with_suffix(".hdr"), Path(f"{path}.hdr"), path.with_suffix(".HDR")):
        if candidate.is_file():
            return candidate, path
    raise SceneError(f"{path.name}: has no header beside it; put {path.stem}.hdr next to it.")


def _header(path: Path) -> dict[str, Any]:
    envi = import_extra("spectral.io.envi", "envi", path)
    try:
        # Decoded here first: the library leaves the file open when it meets bytes that are no text.
        path.read_text()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header: dict[str, Any] = envi.read_envi_header(str(path))
    except (OSError, ValueError, envi.EnviException) as error:
        raise SceneError(f"{path.name}: is not an ENVI header, or a damaged one.") from error
    return {name.lower(): value for name, value in header.items()}


def _count(header: dict[str, Any], name: str, path: Path) -> int:
    text = str(header.get(name, "")).strip()
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        stated = f"'{name} = {text}' must be a positive integer" if name in header else f"lacks '{name}'"
        raise SceneError(f"{path.name}: {stated}; correct the header.")
    return int(text)


def _number(header: dict[str, Any], name: str, path: Path, default: float) -> float:
    try:
        return float(header.get(name, default))
    except (TypeError, ValueError) as error:
        raise SceneError(
            f"{path.name}: '{name}' must be a number, got {header[name]!r}; correct the header."
        ) from error


def _numbers(header: dict[str, Any], name: str, count: int, path: Path) -> np.ndarray | None:
    if name not in header:
        return None
    try:
        values = np.array([float(item) for item in header[name]])
    except (TypeError, ValueError) as error:
        raise SceneError(f"{path.name}: '{name}' must list numbers; correct the header.") from error
    if values.shape != (count,):
        raise SceneError(f"{path.name}: '{name}' lists {values.size} numbers for {count} bands; correct the header.")
    return values
