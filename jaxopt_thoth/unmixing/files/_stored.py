"""Arrays that stay on the disk until a part of them is asked for."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError


Index = tuple[slice, ...]


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: its shape, its dtype, and `fetch`, which reads the part that a tuple of slices names."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fetch: Callable[[Index], np.ndarray]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.fetch(tuple(slice(None) for _ in self.shape)), dtype)

    def transposed(self) -> "StoredArray":
        """The same with all axes reversed, as MATLAB keeps arrays in HDF5."""
        fetch = self.fetch
        return StoredArray(self.shape[::-1], self.dtype, lambda index: fetch(index[::-1]).T)


def mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...], *, offset: int = 0, order: str = "C") -> StoredArray:
    """Plain numbers in a file from `offset` on; raises `SceneError` when the file is too short for them."""
    needed = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    actual = path.stat().st_size
    if actual < needed:
        raise SceneError(
            f"{path.name}: has {actual} bytes where {shape} numbers of {dtype} need {needed}; it is truncated, or its "
            "header is wrong."
        )

    def fetch(index: Index) -> np.ndarray:
        # A map of its own for each part: the pages of a map that is kept would add up to the whole file in memory.
        view = np.memmap(path, dtype, "r", offset, shape, "F" if order == "F" else "C")
        return np.array(view[index])

    return StoredArray(shape, dtype, fetch)


def mapped_npy(path: Path, *, offset: int = 0) -> StoredArray:
    """The array of a .npy file, or of one that lies in another file from `offset` on."""
    with open(path, "rb") as handle:
        handle.seek(offset)
        version = np.lib.format.read_magic(handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(handle)
        start = handle.tell()
    if dtype.hasobject:
        raise SceneError(f"{path.name}: holds pickled objects, which are not read for safety; save plain arrays only.")
    if 0 in shape or not shape:
        return StoredArray(shape, dtype, lambda index: np.load(path)[index] if offset == 0 else np.empty(shape, dtype))
    return mapped(path, dtype, shape, offset=start, order="F" if fortran else "C")


def mapped_npz(path: Path) -> dict[str, StoredArray]:
    """The arrays of a .npz file that lie in it uncompressed and are large enough to be worth it."""
    found = {}
    with zipfile.ZipFile(path) as archive, open(path, "rb") as handle:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(".npy"):
                continue
            if entry.file_size < 65536:
                continue
            # The local header has its own lengths, which may differ from those of the directory at the end.
            handle.seek(entry.header_offset)
            local = handle.read(30)
            lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
            found[entry.filename[:-4]] = mapped_npy(path, offset=entry.header_offset + 30 + lengths)
    return found
