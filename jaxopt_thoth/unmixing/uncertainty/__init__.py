"""How far the abundances of a method may be trusted: spread over starts, noise and library, and what it leaves."""

from ._bootstrap_library import bootstrap_library as bootstrap_library
from ._bootstrap_noise import bootstrap_noise as bootstrap_noise
from ._ensemble_spread import ensemble_spread as ensemble_spread
from ._reconstruction_error import reconstruction_error as reconstruction_error
from ._spread import Spread as Spread
