from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from ._source import SceneSource


def read_ahead(
    image: SceneSource, tiles: list[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], Float[np.ndarray, "L n"]]]:
    """Tiles with their values, each read while the one before it is at work."""
    if not tiles:
        return
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(image.read, slice(*tiles[0]))
        for k, tile in enumerate(tiles):
            values = ahead.result()
            if k + 1 < len(tiles):
                ahead = reader.submit(image.read, slice(*tiles[k + 1]))
            yield tile, values
            # Held here, the tile would stay in memory while the next ones are read.
            del values
