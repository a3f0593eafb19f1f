"""The files of a report."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..unmixing import Scene, Unmixing


def write_endmembers(path: Path, scene: Scene, unmixing: Unmixing, names: Sequence[str]) -> None:
    """Write one row for each band: its wavelength, or its number from 1, then each endmember's value."""
    spectra = np.asarray(unmixing.endmembers)
    known = scene.wavelengths is not None
    bands = np.asarray(scene.wavelengths) if known else np.arange(1, spectra.shape[0] + 1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["wavelength" if known else "band", *names])
        # NumPy's own text of a number is the shortest that reads back to the same bits.
        writer.writerows([str(band), *map(str, row)] for band, row in zip(bands, spectra))


def write_abundances(path: Path, scene: Scene, unmixing: Unmixing, deviation: np.ndarray | None = None) -> None:
    """Write the maps (p, H, W), NaN where the scene has no data, the endmembers (L, p), and what else is known."""
    maps = np.asarray(scene.to_map(unmixing.abundances))
    optional = {
        "library_abundances": unmixing.library_abundances,
        "parameters": (unmixing.diagnostics or {}).get("parameters"),
        "standard_deviation": deviation,
    }
    more: dict[str, Any] = {
        name: np.asarray(scene.to_map(values)) for name, values in optional.items() if values is not None
    }
    np.savez_compressed(path, abundances=maps, endmembers=np.asarray(unmixing.endmembers), **more)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record that any JSON reader accepts."""
    path.write_text(to_json(record) + "\n", encoding="utf-8")


def to_json(record: dict[str, Any]) -> str:
    """The record as JSON text; arrays as lists, and what is not finite as null, which JSON has no number for."""
    return json.dumps(_plain(record), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _plain(np.asarray(value).tolist())
