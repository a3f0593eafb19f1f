"""Penalties g, known by their value, prox and conjugate, and a calculus that builds new ones from them."""

from ._base import AbstractPenalty as AbstractPenalty
from ._box import Box as Box
from ._conjugate import Conjugate as Conjugate
from ._elastic_net import ElasticNet as ElasticNet
from ._group_lasso import GroupLasso as GroupLasso
from ._l1 import L1 as L1
from ._l1_ball import L1Ball as L1Ball
from ._l2 import L2 as L2
from ._l2_ball import L2Ball as L2Ball
from ._l2_squared import L2Squared as L2Squared
from ._nonnegative import NonNegative as NonNegative
from ._regularized import Regularized as Regularized
from ._scaled import Scaled as Scaled
from ._separable_sum import SeparableSum as SeparableSum
from ._simplex import Simplex as Simplex
from ._tilted import Tilted as Tilted
from ._translated import Translated as Translated
from ._zero import Zero as Zero
