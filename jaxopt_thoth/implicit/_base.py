from typing import ClassVar

import equinox as eqx

from .. import _tree
from .._types import Params, Scalar
from ..problems import AbstractProblem
from ._linearization import parameter_tangent


class AbstractAdjoint(eqx.Module):
    """How derivatives flow from a solution to the problem it solves.

    Attributes:
        unrolls: whether the derivative is that of the iterations; otherwise these run on frozen values, and the
            derivative is attached to the solution afterwards.
    """

    unrolls: ClassVar[bool] = False

    def tangent(self, problem: AbstractProblem, params: Params, step: Scalar, rhs: Params, tol: Scalar) -> Params:
        """Derivative of the solution, given the derivative `rhs` of the fixed-point map along the problem's tangent."""
        raise NotImplementedError

    def polished(self, problem: AbstractProblem, params: Params, step: Scalar, tol: Scalar) -> Params:
        """The solution, refined where the adjoint's linear system allows it."""
        return params


def attach(adjoint: AbstractAdjoint, problem: AbstractProblem, params: Params, step: Scalar, tol: Scalar) -> Params:
    """Return `params`, a solution of `problem`, with the derivatives in `problem` that `adjoint` provides.

    This is how a solution found by any means (a closed form, another library, an exact active set) becomes
    differentiable: the path to the solution does not enter its derivative.

    Args:
        adjoint: for example `Implicit()`.
        problem: the problem whose leaves are differentiated.
        params: a solution; its own derivative is ignored. It comes back unchanged, or polished if the adjoint does.
        step: step size of the fixed-point map, about the inverse of the Lipschitz constant of the gradient.
        tol: accuracy of `params`, which the linear solve follows.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> def fit(strength):
        ...     lasso = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -1.0])), jt.penalties.L1(strength))
        ...     found = jnp.maximum(jnp.array([3.0, 1.0]) - 2.0, 0)  # by any means
        ...     return jt.implicit.attach(jt.implicit.Implicit(), lasso, found, jnp.array(1.0), jnp.array(1e-6))
        >>> print(jax.jacobian(fit)(2.0) + 0.0)
        [-1.  0.]
    """
    params, step, tol = _tree.stop_gradient((params, step, tol))
    params = adjoint.polished(_tree.stop_gradient(problem), params, step, tol)
    return _attach(problem, params, adjoint=_tree.stop_gradient(adjoint), step=step, tol=tol)


@eqx.filter_custom_jvp
def _attach(problem, params, *, adjoint, step, tol):
    return params


@_attach.def_jvp
def _attach_jvp(primals, tangents, *, adjoint, step, tol):
    problem, params = primals
    tangent, _ = tangents
    # Attached again inside the rule, so that the rule can be differentiated in its turn.
    solution = _attach(problem, params, adjoint=adjoint, step=step, tol=tol)
    rhs = parameter_tangent(problem, tangent, solution, step)
    return solution, adjoint.tangent(problem, solution, step, rhs, tol)
