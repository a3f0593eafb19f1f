"""Named arrays of a .npz or .mat file, every failure as one clear line."""

from pathlib import Path
from typing import Any

import numpy as np

from ._scene_error import SceneError


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file by name; raises `SceneError` when it cannot be read."""
    readers = {".npz": _read_npz, ".mat": _read_mat}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise SceneError(f"{path.name}: unknown kind of file {suffix!r}; pass a .npz or a .mat file.")
    if not path.exists():
        raise SceneError(f"{path.name}: no such file.")
    if not path.is_file():
        raise SceneError(f"{path.name}: is not a file.")
    try:
        arrays = readers[suffix](path)
    except SceneError:
        raise
    # The readers of broken bytes raise almost anything (zlib, struct, unicode, key and type errors among them).
    except Exception as error:
        raise SceneError(f"{path.name}: cannot be read, the file is damaged or not a {suffix} file.") from error
    if not arrays:
        raise SceneError(f"{path.name}: the file holds no arrays.")
    return arrays


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # A handle of our own: NumPy leaves its own open when the archive turns out to be damaged.
        with open(path, "rb") as handle:
            loaded: Any = np.load(handle, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise SceneError(f"{path.name}: holds a single array without names; write it again with numpy.savez.")
            return {name: loaded[name] for name in loaded.files}
    except SceneError:
        raise
    except ValueError as error:
        # NumPy blames pickle for any bytes it does not know; those of a real pickle start with 0x80.
        if "Object arrays" in str(error) or path.read_bytes()[:1] == b"\x80":
            raise SceneError(
                f"{path.name}: holds pickled objects, which are not read for safety; save plain arrays only."
            ) from error
        raise


def _read_mat(path: Path) -> dict[str, np.ndarray]:
    # Importing scipy.io takes longer than importing the rest of this room.
    import scipy.io

    try:
        loaded = scipy.io.loadmat(path)
    except NotImplementedError as error:
        raise SceneError(
            f"{path.name}: is a MATLAB v7.3 (HDF5) file; save it again in MATLAB with save(..., '-v7'), or as .npz."
        ) from error
    return {name: value for name, value in loaded.items() if not name.startswith("__")}
