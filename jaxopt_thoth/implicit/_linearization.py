from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from .._types import Params, Scalar
from ..problems import AbstractProblem, Composite


def fixed_point_jacobian(problem: AbstractProblem, params: Params, step: Scalar) -> Callable[[Params], Params]:
    """The derivative of the problem's fixed-point map at `params`, linearized once."""
    if isinstance(problem, Composite):
        return Linearization(problem, params, step).jacobian
    return jax.linearize(lambda w: problem.fixed_point(w, step), params)[1]


class Linearization:
    """The fixed-point map `T(w) = prox_s(w - s grad f(w))` linearized at a solution, once for many products.

    P is the Jacobian of the prox at `w - s grad f(w)`, symmetric with eigenvalues in [0, 1] for a convex penalty, and H
    the Hessian of f at w. Then dT = P (I - s H), which is not symmetric; `symmetrized` is the symmetric positive
    semidefinite operator `P (I - P) + s P H P` that carries the same linear system.
    """

    def __init__(self, problem: Composite, params: Params, step: Scalar):
        self.step = step
        gradient, self.hessian = jax.linearize(problem.smooth.gradient, params)
        moved = _tree.add_scaled(params, -step, gradient)
        self.image, self.prox_jacobian = jax.linearize(lambda z: problem.penalty.prox(z, step), moved)

    def forward(self, v: Params) -> Params:
        """`(I - s H) v`."""
        return _tree.add_scaled(v, -self.step, self.hessian(v))

    def jacobian(self, v: Params) -> Params:
        """`P (I - s H) v`, the derivative of T in w."""
        return self.prox_jacobian(self.forward(v))

    def residual(self, v: Params) -> Params:
        """`(I - P (I - s H)) v`."""
        return _tree.sub(v, self.jacobian(v))

    def symmetrized(self, v: Params) -> Params:
        """`(P (I - P) + s P H P) v`."""
        a = self.prox_jacobian(v)
        return _tree.add(a, self.prox_jacobian(_tree.sub(_tree.scale(self.step, self.hessian(a)), a)))

    def solve(self, rhs: Params, symmetric_solve: Callable[[Callable, Params], Params]) -> Params:
        """Solve `(I - P (I - s H)) dw = rhs` through the symmetrized system, in a way that JAX can transpose."""
        inner = self.jacobian(rhs)
        q = jax.lax.custom_linear_solve(self.symmetrized, inner, symmetric_solve, symmetric=True)
        return _tree.add(rhs, self.prox_jacobian(q))


def parameter_tangent(problem: AbstractProblem, tangent: AbstractProblem, params: Params, step: Array) -> Params:
    """Derivative of T(params) along a tangent of the problem's leaves, `params` held fixed."""
    fixed_point = lambda p: p.fixed_point(params, step)
    image, moved = eqx.filter_jvp(fixed_point, (problem,), (tangent,))
    # Where the map does not depend on what is differentiated, there is no tangent at all.
    zero_or = lambda a, t: jnp.zeros_like(a) if t is None and a is not None else t
    return jax.tree.map(zero_or, image, moved, is_leaf=lambda t: t is None)
