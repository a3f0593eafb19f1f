"""Blurred, coarse and fused images: deconvolution, pansharpening, fusion, and the sensors' responses."""

from ._blur import Blur as Blur
from ._deconvolve import deconvolve as deconvolve
from ._deconvolve_total_variation import deconvolve_total_variation as deconvolve_total_variation
from ._downsample import Downsample as Downsample
from ._ergas import ergas as ergas
from ._estimate_point_spread import estimate_point_spread as estimate_point_spread
from ._estimate_sensors import estimate_sensors as estimate_sensors
from ._estimate_spectral_response import estimate_spectral_response as estimate_spectral_response
from ._fuse import fuse as fuse
from ._fuse_variational import fuse_variational as fuse_variational
from ._pansharpen import pansharpen as pansharpen
from ._pansharpen_variational import pansharpen_variational as pansharpen_variational
from ._psnr import psnr as psnr
from ._quality_index import quality_index as quality_index
from ._restoration import Restoration as Restoration
from ._sensor_estimate import SensorEstimate as SensorEstimate
from ._upsample import upsample as upsample
