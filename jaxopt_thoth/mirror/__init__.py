"""Mirror maps: geometries in which descent steps stay inside a constraint set."""

from ._base import AbstractMirrorMap as AbstractMirrorMap
from ._euclidean import Euclidean as Euclidean
from ._negative_entropy import NegativeEntropy as NegativeEntropy
