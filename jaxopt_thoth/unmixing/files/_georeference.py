from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class GeoReference:
    """Where the pixels of an image lie on the Earth, as its file says.

    Args:
        transform: six numbers (a, b, c, d, e, f): the corner of pixel (row, column) lies at
            `x = a column + b row + c`, `y = d column + e row + f`; None when the image is not on a regular grid.
        crs: the coordinate reference system, as WKT or "EPSG:number"; None when unknown.
        latitude: (H, W) degrees of the centers of the pixels, for images in the geometry of the sensor, or None.
        longitude: (H, W), likewise.

    Example:
        >>> where = GeoReference((30.0, 0.0, 5e5, 0.0, -30.0, 4e6), "EPSG:32633")
        >>> where.corner(0, 10)
        (500300.0, 4000000.0)
    """

    transform: tuple[float, ...] | None = None
    crs: str | None = None
    latitude: np.ndarray | None = field(default=None, repr=False)
    longitude: np.ndarray | None = field(default=None, repr=False)

    def corner(self, row: float, column: float) -> tuple[float, float]:
        """Coordinates (x, y) of the upper left corner of a pixel; `ValueError` without a transform."""
        if self.transform is None:
            raise ValueError("the image has no transform: its pixels are not on a regular grid.")
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f
