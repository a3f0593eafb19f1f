"""What an estimate was fitted to."""

import numpy as np

from ..unmixing import Scene, Unmixing


def fitted_pixels(scene: Scene, unmixing: Unmixing) -> tuple[np.ndarray, bool]:
    """The pixels (L, N) that the endmembers rebuild, and whether they are scaled copies of the stored ones."""
    pixels = np.asarray(scene.pixels)
    if unmixing.pixel_scale is None:
        return pixels, False
    scale = np.asarray(unmixing.pixel_scale)
    known = np.isfinite(scale)
    return pixels / np.where(known, scale, 1), bool((scale[known] != 1).any())


def rebuilt_pixels(unmixing: Unmixing, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """What an estimate makes of the chosen pixels (L, n), NaN where masked; not always `endmembers @ abundances`."""
    fractions = np.asarray(unmixing.abundances)[:, chosen]
    stored = (unmixing.diagnostics or {}).get("reconstruction")
    if stored is None:
        return np.asarray(unmixing.endmembers) @ fractions
    return np.where(np.isfinite(fractions).all(axis=0), np.asarray(stored)[:, chosen], np.nan)
