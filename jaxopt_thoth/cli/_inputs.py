"""Reading what the user names: scenes, and estimates written earlier."""

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from ..unmixing import load_scene, Scene
from ._errors import bad_input, InputError


ARRAYS = "abundances.npz"


def read_scene(path: Path, nodata: float | None, order: Literal["C", "F"] | None, variable: str | None = None) -> Scene:
    """The scene of a file.

    Raises:
        InputError: when there is none, or it is not a scene.
    """
    with bad_input():
        return load_scene(path, nodata=nodata, order=order, variable=variable)


def read_estimate(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Endmembers (L, p) and abundances (p, H, W) of a report's directory or of its `abundances.npz`.

    Raises:
        InputError: when the file is missing, unreadable, or its arrays do not fit each other.
    """
    file = path / ARRAYS if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the directory of a report or its {ARRAYS}")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not an estimate: {error}") from error
    for key in ("endmembers", "abundances"):
        if key not in found:
            raise InputError(f"{file}: needs the key {key}; the file has {', '.join(sorted(found)) or 'none'}")
        if found[key].dtype.kind not in "fiu":
            raise InputError(f"{file}: {key} must be numbers, not {found[key].dtype}")
    endmembers, abundances = found["endmembers"], found["abundances"]
    if endmembers.ndim != 2 or abundances.ndim != 3 or endmembers.shape[1] != abundances.shape[0]:
        raise InputError(
            f"{file}: needs endmembers (L, p) and abundances (p, H, W), got {endmembers.shape} and {abundances.shape}"
        )
    if not np.isfinite(endmembers).all():
        raise InputError(f"{file}: endmembers must be finite")
    return endmembers, abundances
