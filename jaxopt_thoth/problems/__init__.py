"""Problems: the pytrees that are solved, batched and differentiated."""

from ._composite import Composite as Composite
from ._duality import duality_gap as duality_gap
