"""Distances between spectra, abundances and images, in the units the field reports."""

from ._abundance_rmse import abundance_rmse as abundance_rmse
from ._reconstruction_rmse import reconstruction_rmse as reconstruction_rmse
from ._spectral_angle import spectral_angle as spectral_angle
from ._spectral_information_divergence import spectral_information_divergence as spectral_information_divergence
from ._sre import sre as sre
