"""The scene that a command works on, with its mask, its choice of bands, and the spectra that go with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..unmixing import Scene
from ..unmixing._methods import Plan
from ..unmixing._unmix import classes_of
from ._errors import bad_input, InputError
from ._inputs import read_scene
from ._spectra_file import match_bands, read_spectra, Spectra


@dataclass(frozen=True)
class Reading:
    """How to read a scene: what the user said of it."""

    nodata: float | None = None
    order: Literal["C", "F"] | None = None
    variable: str | None = None
    mask: Path | None = None
    wavelengths: tuple[str, ...] = ()

    def read(self, path: Path) -> Scene:
        """The scene of a file, of the pixels and the bands that were chosen.

        Raises:
            InputError: when it cannot be read so.
        """
        scene = read_scene(path, self.nodata, self.order, self.variable)
        if self.mask is not None:
            scene = _rebuilt(scene, scene.mask & jnp.asarray(read_mask(self.mask, scene.height, scene.width)))
        if self.wavelengths:
            known = None if scene.wavelengths is None else np.asarray(scene.wavelengths)
            scene = _rebuilt(scene, scene.mask, choose_bands(known, self.wavelengths))
        return scene


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """Booleans (N,) of a .npy, .npz or .mat file, row-major, true for the pixels to use.

    Raises:
        InputError: when the file cannot be read or is of another size.
    """
    from ._spectra_file import _arrays_of

    if not path.is_file():
        raise InputError(f"--mask {path}: no such file")
    if path.suffix.lower() == ".npy":
        try:
            found = {"mask": np.load(path, allow_pickle=False)}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"--mask {path}: cannot be read: {error}") from error
    else:
        found = _arrays_of(path)
    if "mask" not in found and len(found) != 1:
        raise InputError(f"--mask {path}: name the array mask; the file has {', '.join(sorted(found))}")
    values = found.get("mask", next(iter(found.values())))
    if values.dtype.kind not in "biuf" or values.shape not in ((height, width), (height * width,)):
        raise InputError(
            f"--mask {path}: must be {height} x {width} numbers, got {values.dtype} of shape {values.shape}"
        )
    return np.asarray(values != 0).reshape(-1)


def choose_bands(wavelengths: np.ndarray | None, ranges: Sequence[str]) -> np.ndarray:
    """Bands (L,) within any of the ranges LO:HI.

    Raises:
        InputError: for a range that is none, a scene without wavelengths, or fewer than 2 bands within.
    """
    if wavelengths is None:
        raise InputError("--wavelengths: the scene has no wavelengths")
    keep = np.zeros(wavelengths.shape, bool)
    for text in ranges:
        try:
            low, high = map(float, text.split(":"))
        except ValueError:
            raise InputError(f"--wavelengths must be LO:HI, got {text!r}") from None
        if not low < high:
            raise InputError(f"--wavelengths must rise from LO to HI, got {text!r}")
        keep |= (wavelengths >= low) & (wavelengths <= high)
    if keep.sum() < 2:
        raise InputError(
            f"--wavelengths {', '.join(ranges)} keeps {keep.sum()} bands, and 2 are needed; "
            f"the scene has {wavelengths.min():g} to {wavelengths.max():g}"
        )
    return keep


def spectra_for(
    scene: Scene, plan: Plan, method: str, library: Path | None, endmembers: Path | None
) -> tuple[Array | None, Spectra | None, list[str]]:
    """The spectra a method works with at the bands of the scene, as an array and with their names, and notices.

    Raises:
        InputError: when a file lacks, is too many, or does not fit the scene.
    """
    for path, option, is_used in (
        (library, "--library", plan.uses_library),
        (endmembers, "--endmembers-file", plan.needs_endmembers),
    ):
        if path is not None and not is_used:
            raise InputError(f"{option} has no meaning for {method}")
    path = library or endmembers
    if path is None:
        if plan.needs_endmembers:
            raise InputError(f"{method} needs --endmembers-file, or an extraction before it, as in vca+{method}")
        if not plan.uses_library:
            return None, None, []
        if scene.library is None:
            raise InputError(f"{method} needs --library; the scene brings none")
        return (
            scene.library,
            Spectra("the scene's own library", np.asarray(scene.library), None, scene.library_names),
            [],
        )
    known = None if scene.wavelengths is None else np.asarray(scene.wavelengths)
    spectra, notice = match_bands(read_spectra(path), scene.num_bands, known)
    values = jnp.asarray(spectra.values).astype(scene.pixels.dtype)
    return values, spectra, [] if notice is None else [notice]


def classes_by_name(plan: Plan, spectra: Spectra | None) -> dict[str, Any]:
    """The classes of a library as a keyword of `unmix`, for a method that has them: spectra of one name are one."""
    if plan.main.kind != "classes" or spectra is None:
        return {}
    return {"classes": classes_of(spectra.names, spectra.values.shape[1])}


def _rebuilt(scene: Scene, mask: Array, keep: np.ndarray | None = None) -> Scene:
    """The scene with another mask and perhaps fewer bands."""
    cut = lambda values: values if values is None or keep is None else values[keep]
    with bad_input():
        return Scene(
            cut(scene.pixels),
            scene.height,
            scene.width,
            wavelengths=cut(scene.wavelengths),
            endmembers=cut(scene.endmembers),
            abundances=scene.abundances,
            library=cut(scene.library),
            mask=mask,
            names=scene.names,
            library_names=scene.library_names,
        )
