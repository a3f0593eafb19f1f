"""The entries of a scene's file, found under the names that the field uses, typed and checked one by one."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._pixel_order import PixelOrder
from ._scene_error import SceneError


SYNONYMS = {
    "pixels": ("Y", "V", "pixels", "cube"),
    "endmembers": ("E", "M", "endmembers"),
    "abundances": ("A", "abundances"),
    "height": ("H", "nRow", "height"),
    "width": ("W", "nCol", "width"),
    "num_endmembers": ("p", "num_endmembers"),
    "num_bands": ("L", "nBand", "num_bands"),
    "num_pixels": ("N", "num_pixels"),
    "library": ("D", "library"),
    "wavelengths": ("wavelengths", "wavelength"),
    "names": ("labels", "cood"),
    "library_names": ("names", "library_names"),
    "mask": ("mask",),
    "nodata": ("nodata",),
    "scale": ("scale",),
    "maximum": ("maxValue",),
    "order": ("order",),
}
_ALL_NAMES = frozenset(name for names in SYNONYMS.values() for name in names)


@dataclass(frozen=True)
class SceneFile:
    """Named arrays as they lie in the file; every getter gives None for a missing entry and raises `SceneError`.

    Those that stay on the disk have a shape and a dtype, and are read by `numpy.asarray`; `pixels` alone hands them on.
    """

    arrays: dict[str, Any]

    def lacks(self, what: str) -> SceneError:
        """The error for missing entries; it lists those that are there."""
        return SceneError(f"{what}; the file has {', '.join(sorted(self.arrays))}.")

    def find(self, entry: str) -> tuple[str, Any] | None:
        """Name and array of an entry, under the first of its synonyms that is there."""
        for name in SYNONYMS[entry]:
            if name in self.arrays:
                return name, self.arrays[name]
        return None

    def numeric(self, entry: str, *, boolean: bool = False) -> np.ndarray | None:
        """An array of real numbers."""
        array = self._numeric(entry, boolean)
        return None if array is None else np.asarray(array)

    def _numeric(self, entry: str, boolean: bool = False) -> Any:
        found = self.find(entry)
        if found is None:
            return None
        name, array = found
        if array.dtype.kind not in ("iufb" if boolean else "iuf"):
            raise SceneError(f"{name} must hold real numbers, got dtype {array.dtype}.")
        if array.size == 0:
            raise SceneError(f"{name} is empty, shape {array.shape}.")
        return array

    def scalar(self, entry: str) -> float | None:
        """A single number."""
        array = self.numeric(entry)
        if array is not None and array.size != 1:
            raise SceneError(f"{entry} must be a single number, got shape {array.shape}.")
        return None if array is None else float(array.reshape(()))

    def size(self, entry: str) -> int | None:
        """A positive integer."""
        value = self.scalar(entry)
        if value is not None and not (value > 0 and value == int(value)):
            raise SceneError(f"{entry} must be a positive integer, got {value:g}.")
        return None if value is None else int(value)

    def vector(self, entry: str) -> np.ndarray | None:
        """A list of numbers; MATLAB keeps it as a matrix of one row or column."""
        array = self.numeric(entry)
        return None if array is None else array.reshape(-1)

    def text(self, entry: str) -> tuple[str, ...] | None:
        """A list of names; entries that are not text (class numbers, say) count as missing."""
        found = self.find(entry)
        if found is None or found[1].dtype.kind not in "UO":
            return None
        leaves = _flat_text(found[1])
        labels = tuple(leaf.strip() for leaf in leaves if isinstance(leaf, str))
        return labels if len(labels) == len(leaves) else None

    def endmembers(self) -> np.ndarray | None:
        """Spectra (L, p); a single number under `M` counts the library's spectra instead."""
        array = self.numeric("endmembers")
        if array is not None and array.size == 1:
            return None
        if array is not None and array.ndim != 2:
            raise SceneError(f"E must have shape (L, p), got {array.shape}.")
        return array

    def pixels(self) -> Any:
        """Stored values, (L, N) or (H, W, L), perhaps still on the disk; a cube may go by any name."""
        array = self._numeric("pixels")
        if array is None:
            cubes = [
                name
                for name, value in self.arrays.items()
                if name not in _ALL_NAMES and value.ndim == 3 and value.dtype.kind in "iuf"
            ]
            if len(cubes) > 1:
                raise SceneError(
                    f"holds several cubes ({', '.join(sorted(cubes))}); pass variable= with the one to read, "
                    "or name it Y."
                )
            array = self.arrays[cubes[0]] if cubes else None
        if array is not None and array.ndim not in (2, 3):
            raise SceneError(f"Y must have shape (L, N) or (H, W, L), got {array.shape}.")
        return array

    def image_size(self, stored: Any) -> tuple[int, int]:
        """Height and width, of the file or of its cube."""
        height, width = self.size("height"), self.size("width")
        if stored is not None and stored.ndim == 3:
            height, width = height or stored.shape[0], width or stored.shape[1]
        if height is None or width is None:
            raise self.lacks("needs H and W, the size of the image")
        return height, width

    def stated_order(self) -> PixelOrder | None:
        """The order of pixels that the file states."""
        stated = " ".join(self.text("order") or ()).lower()
        if stated.startswith(("row", "c-", "c ")) or stated == "c":
            return "C"
        return "F" if stated.startswith(("column", "f-", "f ")) or stated == "f" else None

    def marker(self, nodata: float | None) -> float:
        """The stored value that marks missing data: the one given, else the file's, else -9999."""
        stated = self.scalar("nodata") if nodata is None else float(nodata)
        return -9999.0 if stated is None else stated

    def stored_scale(self) -> float:
        """Factor from stored to physical values: `scale`, or one over `maxValue`, or 1."""
        scale, maximum = self.scalar("scale"), self.scalar("maximum")
        factor = scale if scale is not None else 1 / maximum if maximum else 1.0
        if not (np.isfinite(factor) and factor > 0):
            raise SceneError(f"scale must be positive and finite, got {factor:g}.")
        return factor


def _flat_text(array: np.ndarray) -> list[object]:
    """Leaves of MATLAB cell arrays, which come nested and of any shape."""
    leaves: list[object] = []
    for item in array.reshape(-1).tolist():
        leaves.extend(_flat_text(item) if isinstance(item, np.ndarray) else [item])
    return leaves
