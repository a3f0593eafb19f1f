"""What the commands share: the scene that `simulate` and `unmix` make by default, and the kinds of map files."""

from typing import Literal


HEIGHT = 64
WIDTH = 64
BANDS = 120
SNR = 35.0
MapFormat = Literal["npz", "envi", "geotiff", "netcdf"]
SUFFIXES = {"envi": ".img", "geotiff": ".tif", "netcdf": ".nc"}
