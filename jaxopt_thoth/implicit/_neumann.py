import equinox as eqx
from jax import lax

from .. import _tree
from .._loop import match_carry
from .._types import Params, Scalar
from ..problems import AbstractProblem
from ._base import AbstractAdjoint
from ._linearization import fixed_point_jacobian


class Neumann(AbstractAdjoint):
    """Differentiate by `num_terms` terms of the Neumann series of `(I - dT)^-1` past the identity.

    The error is the contraction factor of the map to the power `num_terms + 1`; the cost is that many products, fixed.

    Args:
        num_terms: number of products with the Jacobian of the map; 0 is `OneStep`.

    Raises:
        ValueError: if `num_terms` is negative.

    Example:
        >>> from jaxopt_thoth import implicit
        >>> adjoint = implicit.Neumann(20)
    """

    num_terms: int = eqx.field(static=True)

    def __init__(self, num_terms: int):
        if num_terms < 0:
            raise ValueError(f"num_terms must be nonnegative, got {num_terms}.")
        self.num_terms = num_terms

    def tangent(self, problem: AbstractProblem, params: Params, step: Scalar, rhs: Params, tol: Scalar) -> Params:
        jacobian = fixed_point_jacobian(problem, params, step)

        def add_term(partial: Params) -> Params:
            return _tree.add(rhs, jacobian(partial))

        start = match_carry(add_term, rhs)
        return lax.scan(lambda partial, _: (add_term(partial), None), start, None, length=self.num_terms)[0]
