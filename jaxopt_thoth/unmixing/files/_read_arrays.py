"""Named arrays of a .npz, .npy, .mat or HDF5 file, every failure as one clear line."""

from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from .._scene_file import SYNONYMS
from ._hdf5_arrays import hdf5_arrays
from ._stored import mapped_npy, mapped_npz


NAMED_SUFFIXES = (".npz", ".npy", ".mat", ".h5", ".hdf5")


def read_arrays(path: Path, variable: str | None = None, *, lazily: bool = False) -> dict[str, Any]:
    """Every array of the file by name; raises `SceneError` when it cannot be read.

    `variable` names the array that holds the image, whatever others there are. `lazily` leaves arrays on the disk as
    `StoredArray` where they lie there plainly; those of HDF5 always stay there.
    """
    suffix = path.suffix.lower()
    if suffix not in NAMED_SUFFIXES:
        raise SceneError(f"{path.name}: unknown kind of file {suffix!r}; pass one of {', '.join(NAMED_SUFFIXES)}.")
    if not path.exists():
        raise SceneError(f"{path.name}: no such file.")
    if not path.is_file():
        raise SceneError(f"{path.name}: is not a file.")
    readers = {".npz": _read_npz, ".npy": _read_npy, ".mat": _read_mat}
    try:
        arrays = readers[suffix](path, lazily) if suffix in readers else hdf5_arrays(path)
    except SceneError:
        raise
    # The readers of broken bytes raise almost anything (zlib, struct, unicode, key and type errors among them).
    except Exception as error:
        raise SceneError(f"{path.name}: cannot be read, the file is damaged or not a {suffix} file.") from error
    if not arrays:
        raise SceneError(f"{path.name}: the file holds no arrays.")
    if variable is None:
        return arrays
    if variable not in arrays:
        raise SceneError(f"{path.name}: has no variable {variable!r}; the file has {', '.join(sorted(arrays))}.")
    chosen = arrays[variable]
    return {name: value for name, value in arrays.items() if name not in SYNONYMS["pixels"]} | {"Y": chosen}


def _read_npz(path: Path, lazily: bool) -> dict[str, Any]:
    try:
        # A handle of our own: NumPy leaves its own open when the archive turns out to be damaged.
        with open(path, "rb") as handle:
            loaded: Any = np.load(handle, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise SceneError(f"{path.name}: holds a single array without names; write it again with numpy.savez.")
            plain = mapped_npz(path) if lazily else {}
            return {name: plain[name] if name in plain else loaded[name] for name in loaded.files}
    except SceneError:
        raise
    except ValueError as error:
        # NumPy blames pickle for any bytes it does not know; those of a real pickle start with 0x80.
        if "Object arrays" in str(error) or path.read_bytes()[:1] == b"\x80":
            raise SceneError(
                f"{path.name}: holds pickled objects, which are not read for safety; save plain arrays only."
            ) from error
        raise


def _read_npy(path: Path, lazily: bool) -> dict[str, Any]:
    cube = mapped_npy(path)
    if cube.ndim != 3:
        raise SceneError(f"{path.name}: must hold a cube (H, W, L), got shape {cube.shape}; write a .npz for a list.")
    return {"Y": cube if lazily else np.asarray(cube)}


def _read_mat(path: Path, lazily: bool) -> dict[str, Any]:
    # Importing scipy.io takes longer than importing the rest of this room.
    import scipy.io

    try:
        loaded = scipy.io.loadmat(path)
    except NotImplementedError:
        # MATLAB v7.3, which is HDF5.
        return hdf5_arrays(path)
    return {name: value for name, value in loaded.items() if not name.startswith("__")}
