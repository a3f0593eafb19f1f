from .. import _tree
from .._types import Params, Scalar
from ..problems import AbstractProblem
from ._base import AbstractAdjoint


class StopGradient(AbstractAdjoint):
    """Take the solution for a constant: every derivative through it is zero.

    Example:
        >>> from jaxopt_thoth import implicit
        >>> adjoint = implicit.StopGradient()
    """

    def tangent(self, problem: AbstractProblem, params: Params, step: Scalar, rhs: Params, tol: Scalar) -> Params:
        return _tree.zeros_like(rhs)
