from typing import ClassVar

from .._types import Params, Scalar
from ..problems import AbstractProblem
from ._base import AbstractAdjoint


class OneStep(AbstractAdjoint):
    """Differentiate one last step of the fixed-point map, its input held fixed (Bolte, Pauwels and Vaiter, 2023).

    No linear system is solved; the relative error is about the contraction factor of the map, so that it is exact only
    for a map that converges in one step, such as Newton's.

    Example:
        >>> from jaxopt_thoth import implicit
        >>> adjoint = implicit.OneStep()
    """

    unrolls: ClassVar[bool] = False

    def tangent(self, problem: AbstractProblem, params: Params, step: Scalar, rhs: Params, tol: Scalar) -> Params:
        return rhs
