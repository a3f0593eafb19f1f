"""How many rows of an image may be in memory at once."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from .._scene_error import SceneError
from ._source import SceneSource


# Larger tiles are slower on a CPU, whose caches they leave (EMIT's size took 15 s of CPU time by 58 000 pixels, 6 s by
# 12 000), and lose more when a run is interrupted.
_PIXELS_AT_MOST = 16384


@dataclass(frozen=True)
class TilePlan:
    """Rows a tile, and the bytes that a tile of these and all that is computed from it take.

    Counted for each pixel, with s bytes a stored and c bytes a computed number, of all bands of the file and of the L
    that are read: the tile that is read ahead (s for each band of the file, s for each band kept, one for the test of
    its validity, c for its physical value), and the tile at work (4 c for each band: on the host, on the device,
    normalized, and reconstructed); 12 c for each of the p endmembers and for the error, which covers the right-hand
    sides, the candidates of the fit, and the maps on both sides. Each term is counted as if none were freed early.
    The interpreter, the libraries and the compiled program (some 0.4 GB together) are not counted, and neither is what
    a function of the sample takes.
    """

    rows: int
    bytes_per_row: int

    @property
    def working_set(self) -> int:
        """Bytes of a tile and all that is computed from it."""
        return self.rows * self.bytes_per_row

    def tiles(self, start: int, height: int) -> list[tuple[int, int]]:
        """Rows from `start` on as pairs (first, past the last)."""
        return [(row, min(row + self.rows, height)) for row in range(start, height, self.rows)]


def plan_tiles(source: SceneSource, num_endmembers: int, memory: float) -> TilePlan:
    """The largest tiles whose working set stays within `memory` bytes; `SceneError` when one row does not."""
    computed = np.dtype(jnp.result_type(float)).itemsize
    # All bands of the file are read, and the bad ones among them left out afterwards.
    stored_bands = source.bands_in_file
    reading = stored_bands * source.dtype.itemsize + source.num_bands * (source.dtype.itemsize + 1 + computed)
    working = computed * (4 * source.num_bands + 12 * (num_endmembers + 1))
    per_row = source.width * (reading + working)
    if not memory >= per_row:
        raise SceneError(
            f"{source.path.name}: memory must be at least {per_row} bytes, which one row of {source.width} pixels and "
            f"{source.num_bands} bands needs, got {memory:g}."
        )
    rows = min(int(memory // per_row), max(1, _PIXELS_AT_MOST // source.width), source.height)
    return TilePlan(rows, per_row)
