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
