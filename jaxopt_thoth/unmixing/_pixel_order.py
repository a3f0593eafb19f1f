"""Row-major or column-major: how a file lists the pixels of an image."""

from typing import Literal

import numpy as np


PixelOrder = Literal["C", "F"]


def to_row_major(values: np.ndarray, height: int, width: int, order: PixelOrder) -> np.ndarray:
    """Values (..., N) listed in `order`, as a row-major list (..., N)."""
    if order == "C":
        return values
    return values.reshape(*values.shape[:-1], width, height).swapaxes(-1, -2).reshape(values.shape)


def is_smoother_otherwise(values: np.ndarray, valid: np.ndarray, height: int, width: int, order: PixelOrder) -> bool:
    """Whether an image that was listed in `order` would be clearly smoother had it been listed in the other one.

    The criterion is the mean squared spectral difference of adjacent valid pixels: read in the wrong order, one of
    the two directions joins pixels that are far apart. The other order must at least halve it, and must itself stay
    below half of what unrelated pixels differ by (twice the variance); noise does neither.

    Args:
        values: (L, N) row-major, as converted under the assumption of `order`.
        valid: (N,) booleans, likewise.
        height: H.
        width: W.
        order: the order that was assumed.
    """
    # Square images read in the wrong order are merely transposed, and tiny ones have too few neighbors to tell.
    if height == width or min(height, width) == 1 or values.shape[-1] < 32:
        return False
    rough = _roughness(values, valid, height, width)

    def read_otherwise(array: np.ndarray) -> np.ndarray:
        # Undoing a conversion from column-major is a conversion of the transposed image.
        return to_row_major(array, height, width, "F") if order == "C" else to_row_major(array, width, height, "F")

    smooth = _roughness(read_otherwise(values), read_otherwise(valid), height, width)
    unrelated = 2 * float(values[:, valid].var(axis=1).sum())
    return rough > 2 * smooth and smooth < 0.5 * unrelated


def _roughness(values: np.ndarray, valid: np.ndarray, height: int, width: int) -> float:
    image, known = values.reshape(-1, height, width), valid.reshape(height, width)
    total, count = 0.0, 0
    for before, after in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        pairs = known[before] & known[after]
        difference = np.where(pairs, image[(slice(None), *after)] - image[(slice(None), *before)], 0)
        total += float(np.sum(difference * difference))
        count += int(pairs.sum())
    return total / max(count, 1)
