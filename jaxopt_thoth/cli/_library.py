"""The commands `library info`, `library prune` and `library resample`."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..unmixing import prune_library
from ..unmixing._prune_library import least_angles
from ._errors import bad_input, InputError
from ._prepare import choose_bands
from ._spectra_file import read_spectra, Spectra, write_spectra
from ._staging import require_writable, staged
from ._write import to_json


def print_library(path: Path, *, as_json: bool) -> None:
    """Say what a library holds.

    Raises:
        InputError: when the file holds no spectra.
    """
    spectra = read_spectra(path)
    angles = np.asarray(least_angles(spectra.values))
    known = np.isfinite(angles)
    waves = spectra.wavelengths
    record: dict[str, Any] = {
        "spectra": spectra.values.shape[1],
        "bands": spectra.values.shape[0],
        "wavelengths": None if waves is None else [float(waves.min()), float(waves.max())],
        "values": [float(spectra.values.min()), float(spectra.values.max())],
        "least_angle": float(angles[known].min()) if known.any() else None,
        "median_angle_to_the_next": float(np.median(angles[known])) if known.any() else None,
        "zero_spectra": int((np.abs(spectra.values).max(axis=0) == 0).sum()),
        "names": None if spectra.names is None else list(spectra.names),
    }
    if as_json:
        print(to_json(record))
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    span = "not known" if waves is None else f"{waves.min():g} to {waves.max():g}"
    console.print(f"{path}: {record['spectra']} spectra, {record['bands']} bands, wavelengths {span}")
    console.print(f"values from {record['values'][0]:.4g} to {record['values'][1]:.4g}")
    if known.any():
        closest = int(np.nanargmin(angles))
        name = "" if spectra.names is None else f" (of {spectra.names[closest]})"
        console.print(
            f"least angle between two {angles[closest]:.3f} degrees{name}, "
            f"median angle to the next {record['median_angle_to_the_next']:.3f} degrees"
        )
    if record["zero_spectra"]:
        console.print(f"{record['zero_spectra']} spectra are zero")
    if spectra.names is not None:
        console.print("names: " + ", ".join(spectra.names))


def prune_to(out: Path, path: Path, angle: float) -> None:
    """Write the spectra of a library that differ by an angle.

    Raises:
        InputError: when the library cannot be read or pruned so, or nothing can be written.
    """
    _check_out(out)
    spectra = read_spectra(path)
    with bad_input():
        kept = np.asarray(prune_library(spectra.values, angle))
    if kept.size == 0:
        raise InputError(f"{path}: no spectrum is left, all are zero")
    _write(out, spectra.take(kept))
    _say(out, f"{kept.size} of {spectra.values.shape[1]} spectra differ by {angle:g} degrees")


def resample_to(out: Path, path: Path, like: Path | None, wavelengths: list[str]) -> None:
    """Write a library at the wavelengths of another file, within ranges, or both.

    Raises:
        InputError: when the files cannot be read, or do not fit each other.
    """
    if like is None and not wavelengths:
        raise InputError("library resample needs --like FILE, or --wavelengths LO:HI, or both")
    _check_out(out)
    spectra = read_spectra(path)
    targets = spectra.wavelengths if like is None else _wavelengths_of(like)
    if targets is None:
        raise InputError(f"{like or path} has no wavelengths")
    if wavelengths:
        targets = targets[choose_bands(targets, wavelengths)]
    _write(out, spectra.resample(targets))
    _say(out, f"{spectra.values.shape[1]} spectra, from {spectra.values.shape[0]} to {targets.size} bands")


def _wavelengths_of(path: Path) -> np.ndarray | None:
    """Those of a scene, of which nothing else is read, or of a library."""
    from ..unmixing import open_scene, SceneError

    try:
        found = open_scene(path).wavelengths
    except SceneError:
        return read_spectra(path).wavelengths
    return None if found is None else np.asarray(found)


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in (".npz", ".csv"):
        raise InputError(f"--out must end in .npz or .csv, got {out}")
    require_writable(out.parent, [out.name])


def _write(out: Path, spectra: Spectra) -> None:
    with staged(out.parent) as stage:
        write_spectra(stage / out.name, spectra)


def _say(out: Path, text: str) -> None:
    Console().print(f"{out}: {text}", highlight=False, markup=False, soft_wrap=True)
