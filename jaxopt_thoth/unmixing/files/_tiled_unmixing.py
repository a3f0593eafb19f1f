from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class TiledUnmixing:
    """What `unmix_tiles` found and where it is.

    Attributes:
        path: the file of the maps.
        names: of the maps in it: those of the endmembers, then "reconstruction_error".
        endmembers: (L, p) spectra, in the unit that the fit worked in.
        num_pixels: N.
        num_valid: pixels with data; the others are NaN in every map.
        num_failed: valid pixels whose fit was not finite; they are NaN too.
        num_tiles: tiles of the run, those written before it was resumed not included.
        reconstruction_rmse: root of the mean square of the residual over bands and fitted pixels, physical units.
    """

    path: Path
    names: tuple[str, ...]
    endmembers: Float[np.ndarray, "L p"]
    num_pixels: int
    num_valid: int
    num_failed: int
    num_tiles: int
    reconstruction_rmse: float
