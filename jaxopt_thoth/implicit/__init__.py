"""Differentiation of solutions: adjoints for `solve(..., adjoint=)`."""

from ._base import AbstractAdjoint as AbstractAdjoint, attach as attach
from ._cg import conjugate_gradient as conjugate_gradient
from ._complementarity import strict_complementarity_gap as strict_complementarity_gap
from ._implicit import Implicit as Implicit
from ._neumann import Neumann as Neumann
from ._one_step import OneStep as OneStep
from ._stop_gradient import StopGradient as StopGradient
from ._unrolled import Unrolled as Unrolled
