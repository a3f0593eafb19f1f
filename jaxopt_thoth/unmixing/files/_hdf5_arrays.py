"""Arrays of HDF5 files, those of MATLAB v7.3 among them, left on the disk."""

from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from ._extra import import_extra
from ._stored import Index, StoredArray


_NAMED_ANYWHERE = ("wavelength", "wavelengths")


def hdf5_arrays(path: Path) -> dict[str, Any]:
    """Every dataset by its path; the large ones as `StoredArray`, MATLAB's transposed back and its text decoded."""
    h5py = import_extra("h5py", "hdf5", path)
    found: dict[str, Any] = {}
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read, the file is damaged or not an HDF5 file.") from error
    with file:
        is_matlab = path.suffix.lower() == ".mat"

        def visit(name: str, node: Any) -> None:
            # What MATLAB's cells refer to lies in a group of its own.
            if isinstance(node, h5py.Dataset) and not name.startswith("#"):
                value = _matlab(h5py, file, node, path) if is_matlab else _plain(h5py, node, path)
                if value is not None:
                    found[name] = value

        file.visititems(visit)
        for name, value in file.attrs.items():
            if name.lower() in _NAMED_ANYWHERE:
                found.setdefault(name.lower(), np.asarray(value))
    for name in list(found):
        last = name.split("/")[-1].lower()
        if last in _NAMED_ANYWHERE:
            found.setdefault(last, found[name])
    return found


def _plain(h5py: Any, node: Any, path: Path) -> Any:
    if node.shape is None or 0 in node.shape:
        return None
    if h5py.check_string_dtype(node.dtype) is not None:
        return np.array(node.asstr()[()], dtype=object)
    return _stored(h5py, node, path) if node.dtype.kind in "biuf" else None


def _matlab(h5py: Any, file: Any, node: Any, path: Path) -> Any:
    kind = node.attrs.get("MATLAB_class", b"").decode()
    if node.attrs.get("MATLAB_empty", 0) or node.shape is None:
        return None
    if kind == "char":
        return np.array("".join(chr(code) for code in node[()].T.reshape(-1)))
    if kind == "cell":
        leaves = [file[reference] for reference in node[()].T.reshape(-1)]
        return np.array([_matlab(h5py, file, leaf, path) for leaf in leaves], dtype=object)
    return _stored(h5py, node, path).transposed() if node.dtype.kind in "biuf" else None


def _stored(h5py: Any, node: Any, path: Path) -> StoredArray:
    name = node.name

    def fetch(index: Index) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][index])

    return StoredArray(tuple(node.shape), np.dtype(node.dtype), fetch)
