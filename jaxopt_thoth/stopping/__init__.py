"""Stopping criteria, to be passed to `solve(..., stop=)`."""

from ._all_of import AllOf as AllOf
from ._any_of import AnyOf as AnyOf
from ._base import AbstractStop as AbstractStop, Step as Step
from ._duality_gap import DualityGap as DualityGap
from ._fixed_point_residual import FixedPointResidual as FixedPointResidual
from ._relative_change import RelativeChange as RelativeChange
