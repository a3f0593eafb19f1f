"""Differentiation of solutions: adjoints for `solve(..., adjoint=)`, decorators for solvers of your own."""

from ._base import AbstractAdjoint as AbstractAdjoint, attach as attach
from ._cg import conjugate_gradient as conjugate_gradient
from ._complementarity import strict_complementarity_gap as strict_complementarity_gap
from ._custom_argmin import custom_argmin as custom_argmin
from ._custom_fixed_point import custom_fixed_point as custom_fixed_point
from ._custom_root import custom_root as custom_root
from ._implicit import Implicit as Implicit
from ._neumann import Neumann as Neumann
from ._one_step import OneStep as OneStep
from ._root_derivatives import root_jvp as root_jvp, root_vjp as root_vjp
from ._stop_gradient import StopGradient as StopGradient
from ._unrolled import Unrolled as Unrolled
