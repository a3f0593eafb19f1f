"""Images in files: read row by row, unmixed tile by tile, and maps written with their place on the Earth kept."""

from ._edaa_tiles import edaa_tiles as edaa_tiles
from ._georeference import GeoReference as GeoReference
from ._open_scene import open_scene as open_scene
from ._sample_pixels import sample_pixels as sample_pixels
from ._source import SceneSource as SceneSource
from ._tiled_unmixing import TiledUnmixing as TiledUnmixing
from ._unmix_tiles import unmix_tiles as unmix_tiles
from ._write_maps import write_maps as write_maps
