"""Where the tiles of a report stand, in inches, for any number of them and any shape of scene."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LEFT = 0.62
RIGHT = 0.72
TOP = 0.54
BOTTOM = 0.42
GAP = 0.26
NAME = 0.24
CURVE = 1.0
BETWEEN = 0.1
# Room under a row for its tick labels.
UNDER = 0.36
WIDEST = 12.0
MIN_WIDTH = 6.4


@dataclass(frozen=True)
class TileLayout:
    """A grid of tiles, each a name, a map and a curve below one another.

    Attributes:
        count: number of tiles.
        columns: tiles in a row.
        tile: width of a tile.
        map_width: width of the image in it, at most `tile`.
        map_height: height of the image in it.
    """

    count: int
    columns: int
    tile: float
    map_width: float
    map_height: float

    @classmethod
    def of(cls, count: int, height: int, width: int) -> "TileLayout":
        """The layout of `count` tiles for a scene of that height and width in pixels."""
        aspect = width / height
        # Tiles of about equal area, yet never too narrow for a curve nor too tall for a page.
        tile = float(np.clip(1.9 * np.sqrt(aspect), 1.6, 3.8))
        map_height = float(np.clip(tile / aspect, 0.06, 2.7))
        most = max(1, int((WIDEST - LEFT - RIGHT + GAP) // (tile + GAP)))
        rows = -(-count // most)
        return cls(count, -(-count // rows), tile, min(tile, map_height * aspect), map_height)

    @property
    def rows(self) -> int:
        return -(-self.count // self.columns)

    @property
    def right(self) -> float:
        """Where the last column ends."""
        return LEFT + self.columns * self.tile + (self.columns - 1) * GAP

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the whole figure."""
        height = TOP + self.rows * (NAME + self.map_height + BETWEEN + CURVE) + (self.rows - 1) * UNDER + BOTTOM
        return max(self.right + RIGHT, MIN_WIDTH), height

    def _corner(self, index: int) -> tuple[float, float]:
        """Left edge of a tile and the top edge of its image, measured from the bottom left."""
        row, column = divmod(index, self.columns)
        left = LEFT + column * (self.tile + GAP)
        top = self.size[1] - TOP - row * (NAME + self.map_height + BETWEEN + CURVE + UNDER) - NAME
        return left, top

    def add_axes(self, figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
        """An axes at a place given in inches."""
        total_width, total_height = self.size
        place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
        return figure.add_axes(place)

    def axes(self, figure: "Figure") -> Iterator[tuple["Axes", "Axes"]]:
        """The map axes and the curve axes of each tile in turn."""
        for index in range(self.count):
            left, top = self._corner(index)
            image = self.add_axes(figure, left, top - self.map_height, self.map_width, self.map_height)
            bottom = top - self.map_height - BETWEEN - CURVE
            yield image, self.add_axes(figure, left, bottom, self.tile, CURVE)

    def scale_beside(self, figure: "Figure", index: int) -> "Axes":
        """A narrow axes for a color bar right of the image of one tile."""
        left, top = self._corner(index)
        height = max(self.map_height, 0.4)
        return self.add_axes(figure, left + self.map_width + 0.06, top - height, 0.09, height)

    def is_first_column(self, index: int) -> bool:
        """Whether a tile stands at the left edge, where the vertical axis is labeled."""
        return index % self.columns == 0

    def is_last_of_column(self, index: int) -> bool:
        """Whether no tile stands below, so that the horizontal axis is labeled."""
        return index + self.columns >= self.count
