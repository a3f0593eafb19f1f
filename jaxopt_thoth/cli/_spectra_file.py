"""Files of spectra: libraries, and endmembers that were found before."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..unmixing import resample_spectra
from ..unmixing._resample_spectra import unit_factor
from ._errors import bad_input, InputError


_KEYS = ("D", "library", "D_full", "E", "endmembers", "M", "spectra")
_NAMES = {"D": ("names", "library_names"), "D_full": ("names_full",), "E": ("labels", "cood", "names")}
_WAVELENGTHS = ("wavelengths", "wavelength")


@dataclass(frozen=True)
class Spectra:
    """Spectra (L, M) with what the file says of them."""

    source: str
    values: np.ndarray
    wavelengths: np.ndarray | None = None
    names: tuple[str, ...] | None = None

    def take(self, columns: np.ndarray) -> "Spectra":
        """Some of them."""
        names = None if self.names is None else tuple(self.names[k] for k in columns)
        return replace(self, values=self.values[:, columns], names=names)

    def resample(self, targets: np.ndarray) -> "Spectra":
        """At other wavelengths.

        Raises:
            InputError: when the file has no wavelengths, or the targets lie outside them.
        """
        if self.wavelengths is None:
            raise InputError(f"{self.source} has no wavelengths to resample by")
        with bad_input():
            values = resample_spectra(self.values, self.wavelengths, targets)
        return replace(self, values=np.asarray(values), wavelengths=np.asarray(targets))


def read_spectra(path: Path) -> Spectra:
    """The spectra of a .csv, .npz or .mat file, or of the directory of a report.

    Raises:
        InputError: when there is no such file, or it holds no spectra.
    """
    file = path / "endmembers.csv" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    found = _read_csv(file) if file.suffix.lower() == ".csv" else _read_arrays(file)
    if found.values.shape[0] < 2 or found.values.shape[1] < 1:
        raise InputError(f"{file}: needs spectra of at least 2 bands, got shape {found.values.shape}")
    if not np.isfinite(found.values).all():
        raise InputError(f"{file}: spectra must be finite; remove NaN and infinity")
    if found.wavelengths is not None and not np.isfinite(found.wavelengths).all():
        raise InputError(f"{file}: wavelengths must be finite; remove NaN and infinity")
    return found


def match_bands(spectra: Spectra, bands: int, wavelengths: np.ndarray | None) -> tuple[Spectra, str | None]:
    """Spectra at the bands of a scene, and a notice when they had to be resampled.

    Raises:
        InputError: when they cannot be matched; the message says why.
    """
    own, count = spectra.wavelengths, spectra.values.shape[0]
    if own is None or wavelengths is None:
        if count != bands:
            lacking = "it" if own is None else "the scene"
            raise InputError(
                f"{spectra.source} has {count} bands and the scene {bands}; {lacking} has no wavelengths to resample by"
            )
        return spectra, None
    factor = unit_factor(own, wavelengths)
    if count == bands and np.allclose(own, factor * wavelengths, rtol=1e-5, atol=0):
        return spectra, None
    low, high = own.min() / factor, own.max() / factor
    if low > wavelengths.max() or high < wavelengths.min():
        raise InputError(
            f"the wavelengths of {spectra.source}, {low:g} to {high:g}, and those of the scene, "
            f"{wavelengths.min():g} to {wavelengths.max():g}, do not overlap"
        )
    slack = 1e-5 * high
    if low > wavelengths.min() + slack or high < wavelengths.max() - slack:
        low, high = max(low, wavelengths.min()), min(high, wavelengths.max())
        raise InputError(
            f"{spectra.source} covers only a part of the scene's wavelengths; "
            f"choose it by --wavelengths {low:g}:{high:g}"
        )
    return spectra.resample(wavelengths), f"{spectra.source}: resampled from {count} to the {bands} bands of the scene"


def write_spectra(path: Path, spectra: Spectra) -> None:
    """Write a .npz file with D (L, M), wavelengths and names, or a .csv file with a column for each spectrum."""
    if path.suffix.lower() == ".npz":
        optional = {"wavelengths": spectra.wavelengths, "names": spectra.names}
        more: dict[str, Any] = {key: np.asarray(value) for key, value in optional.items() if value is not None}
        np.savez_compressed(path, D=spectra.values, **more)
        return
    count = spectra.values.shape[1]
    names = spectra.names or tuple(f"spectrum {k + 1}" for k in range(count))
    bands = np.arange(1, spectra.values.shape[0] + 1) if spectra.wavelengths is None else spectra.wavelengths
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["band" if spectra.wavelengths is None else "wavelength", *names])
        writer.writerows([str(band), *map(str, row)] for band, row in zip(bands, spectra.values))


def _read_csv(file: Path) -> Spectra:
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.reader(handle) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a table of comma-separated values: {error}") from error
    if not rows:
        raise InputError(f"{file}: is empty")
    header = None if _numbers(rows[0]) is not None else rows.pop(0)
    if not rows:
        raise InputError(f"{file}: has names, and no line of numbers below them")
    numbers = []
    for line, row in enumerate(rows, 1 if header is None else 2):
        values = _numbers(row)
        if values is None or len(values) != len(rows[0]):
            raise InputError(f"{file}: line {line} must hold {len(rows[0])} numbers, one row for each band")
        numbers.append(values)
    table = np.array(numbers, float).reshape(len(numbers), -1)
    if header is None:
        return Spectra(file.name, table)
    if len(header) != table.shape[1]:
        raise InputError(f"{file}: the first line has {len(header)} names for {table.shape[1]} columns")
    first = header[0].strip().lower()
    if first.startswith("wavelength"):
        return Spectra(file.name, table[:, 1:], table[:, 0], tuple(header[1:]))
    if first in ("", "band", "bands", "index"):
        return Spectra(file.name, table[:, 1:], None, tuple(header[1:]))
    return Spectra(file.name, table, None, tuple(header))


def _numbers(row: Sequence[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in row]
    except ValueError:
        return None


def _read_arrays(file: Path) -> Spectra:
    arrays = _arrays_of(file)
    for key in _KEYS:
        values = arrays.get(key)
        if values is not None and values.ndim == 2 and values.size == 0:
            raise InputError(f"{file}: {key} is empty, of shape {values.shape}")
        if values is None or values.ndim != 2 or min(values.shape) < 1 or values.size < 2:
            continue
        if values.dtype.kind not in "fiu":
            raise InputError(f"{file}: {key} must be numbers, not {values.dtype}")
        wavelengths = next((arrays[name].reshape(-1) for name in _WAVELENGTHS if name in arrays), None)
        values = values.astype(float)
        if wavelengths is not None and wavelengths.size != values.shape[0]:
            if wavelengths.size != values.shape[1]:
                raise InputError(f"{file}: {wavelengths.size} wavelengths for {key} of shape {values.shape}")
            values = values.T
        text = next((arrays[name] for name in _NAMES.get(key, ("names", "labels")) if name in arrays), None)
        names = None
        if text is not None and text.dtype.kind == "U" and text.size == values.shape[1]:
            names = tuple(str(name).strip() for name in text.reshape(-1))
        return Spectra(file.name, values, None if wavelengths is None else wavelengths.astype(float), names)
    raise InputError(
        f"{file}: needs spectra (L, M) named {' or '.join(_KEYS)}; the file has {', '.join(sorted(arrays))}"
    )


def _arrays_of(file: Path) -> dict[str, np.ndarray]:
    from ..unmixing.files._read_arrays import read_arrays

    with bad_input():
        return {name: np.asarray(value) for name, value in read_arrays(file).items()}
