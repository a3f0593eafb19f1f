"""Pointwise losses of a score against a target, with their derivatives, conjugates and curvatures."""

from ._base import AbstractLoss as AbstractLoss
from ._epsilon_insensitive import EpsilonInsensitive as EpsilonInsensitive
from ._gamma import Gamma as Gamma
from ._hinge import Hinge as Hinge
from ._huber import Huber as Huber
from ._logistic import Logistic as Logistic
from ._multinomial import Multinomial as Multinomial
from ._pinball import Pinball as Pinball
from ._poisson import Poisson as Poisson
from ._safe_logistic import SafeLogistic as SafeLogistic
from ._smoothed_hinge import SmoothedHinge as SmoothedHinge
from ._squared import Squared as Squared
from ._squared_hinge import SquaredHinge as SquaredHinge
