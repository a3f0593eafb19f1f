"""Differentiation of solutions: adjoints for `solve(..., adjoint=)`, decorators for solvers of your own."""

from ._base import AbstractAdjoint as AbstractAdjoint, attach as attach
from ._cg import conjugate_gradient as conjugate_gradient
from ._complementarity import strict_complementarity_gap as strict_complementarity_gap
from ._custom_argmin import custom_argmin as custom_argmin
from ._custom_fixed_point import custom_fixed_point as custom_fixed_point
from ._custom_kkt import custom_kkt as custom_kkt
from ._custom_mirror_fixed_point import custom_mirror_fixed_point as custom_mirror_fixed_point
from ._custom_prox_fixed_point import custom_prox_fixed_point as custom_prox_fixed_point
from ._custom_root import custom_root as custom_root
from ._diagnose import diagnose as diagnose, Diagnostics as Diagnostics
from ._implicit import Implicit as Implicit
from ._jacobian_free import JacobianFree as JacobianFree
from ._linear_solution import LinearSolution as LinearSolution
from ._neumann import Neumann as Neumann
from ._neumann_series import NeumannSeries as NeumannSeries
from ._one_step import OneStep as OneStep
from ._quasi_newton_inverse import QuasiNewtonInverse as QuasiNewtonInverse
from ._ridge import Ridge as Ridge
from ._root_derivatives import root_jvp as root_jvp, root_vjp as root_vjp
from ._stop_gradient import StopGradient as StopGradient
from ._unrolled import Unrolled as Unrolled
from ._unrolled_tail import unrolled_tail as unrolled_tail
from ._warm_linear_solve import warm_linear_solve as warm_linear_solve
from ._warm_root_vjp import warm_root_vjp as warm_root_vjp
