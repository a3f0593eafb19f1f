"""The `map info` of ENVI headers, to and from an affine transform."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from ._georeference import GeoReference


def georeference_of(header: dict[str, Any], path: Path) -> GeoReference | None:
    """Where an ENVI header says that the image lies, or None."""
    info = header.get("map info")
    system = header.get("coordinate system string")
    # The items come split at commas, of which the text of a coordinate system is full.
    crs = ",".join(system) if isinstance(system, list) else system
    if info is None:
        return None if crs is None else GeoReference(None, crs)
    if not isinstance(info, list) or len(info) < 7:
        raise SceneError(f"{path.name}: 'map info' must list at least 7 items; correct the header.")
    try:
        column, row, x, y, width, height = (float(item) for item in info[1:7])
    except ValueError as error:
        raise SceneError(f"{path.name}: 'map info' needs six numbers after the name; correct the header.") from error
    options = dict(item.split("=", 1) for item in info[7:] if "=" in item)
    angle = np.deg2rad(float(options.get("rotation", 0.0)))
    a, b = width * np.cos(angle), width * np.sin(angle)
    d, e = height * np.sin(angle), -height * np.cos(angle)
    # The reference point is given in pixels counted from one.
    left, top = x - a * (column - 1) - b * (row - 1), y - d * (column - 1) - e * (row - 1)
    transform = tuple(float(v) for v in (a, b, left, d, e, top))
    return GeoReference(transform, crs or _crs_of(info))


def map_info_of(where: GeoReference) -> dict[str, Any]:
    """The entries of a header for a georeference."""
    entries: dict[str, Any] = {}
    if where.crs is not None:
        entries["coordinate system string"] = "{" + where.crs + "}"
    if where.transform is None:
        return entries
    a, b, left, d, e, top = where.transform
    width, height = float(np.hypot(a, b)), float(np.hypot(d, e))
    name, options = _name_of(where.crs or "")
    items = [name, "1", "1", *(repr(v) for v in (left, top, width, height)), *options]
    angle = float(np.rad2deg(np.arctan2(b, a)))
    if angle != 0.0:
        items.append(f"rotation={angle!r}")
    return entries | {"map info": items}


def _crs_of(info: list[str]) -> str | None:
    """The system that the words of a map info name, where they name a common one."""
    name = info[0].lower()
    is_wgs84 = any("wgs" in item.lower() and "84" in item for item in info[7:])
    if "utm" in name and len(info) > 8 and info[7].strip().isdigit() and is_wgs84:
        return f"EPSG:{(32700 if 'south' in info[8].lower() else 32600) + int(info[7])}"
    return "EPSG:4326" if name.startswith("geographic") and is_wgs84 else None


def _name_of(crs: str) -> tuple[str, list[str]]:
    """Name of the projection in a map info, and the items that come after its numbers."""
    found = re.search(r"UTM zone (\d+)\s*([NS])", crs)
    code = re.fullmatch(r"EPSG:32([67])(\d\d)", crs.strip())
    if found or code:
        zone = found.group(1) if found else str(int(code.group(2))) if code else ""
        south = (found.group(2) == "S") if found else bool(code and code.group(1) == "7")
        return "UTM", [zone, "South" if south else "North", "WGS-84", "units=Meters"]
    if crs.strip() == "EPSG:4326" or crs.startswith(("GEOGCS", "GEOGCRS")):
        return "Geographic Lat/Lon", ["WGS-84", "units=Degrees"]
    return "Arbitrary", []
