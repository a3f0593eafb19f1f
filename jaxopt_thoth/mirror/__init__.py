"""Mirror maps: geometries in which descent steps stay inside a constraint set."""

from ._base import AbstractMirrorMap as AbstractMirrorMap
from ._burg_entropy import BurgEntropy as BurgEntropy
from ._entrywise import AbstractEntrywiseMap as AbstractEntrywiseMap
from ._euclidean import Euclidean as Euclidean
from ._fermi_dirac import FermiDirac as FermiDirac
from ._hellinger_ball import HellingerBall as HellingerBall
from ._hypentropy import Hypentropy as Hypentropy
from ._log_det import LogDet as LogDet
from ._mahalanobis import Mahalanobis as Mahalanobis
from ._negative_entropy import NegativeEntropy as NegativeEntropy
from ._p_norm import PNorm as PNorm
from ._power import Power as Power
from ._product import Product as Product
from ._quartic import Quartic as Quartic
from ._simplex_burg_entropy import SimplexBurgEntropy as SimplexBurgEntropy
from ._tsallis import Tsallis as Tsallis
from ._unnormalized_entropy import UnnormalizedEntropy as UnnormalizedEntropy
from ._von_neumann_entropy import VonNeumannEntropy as VonNeumannEntropy
