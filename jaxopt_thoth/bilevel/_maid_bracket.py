import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar
from ._bilevel import Bilevel, BilevelPoint


def outer_bracket(
    problem: Bilevel,
    point: BilevelPoint,
    inner_gradient: Params,
    adjoint: Params | None,
    left: Scalar,
    strong_convexity: Scalar,
    outer_lipschitz: Scalar,
    hessian_lipschitz: Scalar,
    *,
    convex: bool,
) -> tuple[Scalar, Scalar]:
    """Bounds of the outer objective at the exact inner solution, from an inexact one.

    With an adjoint q, whose system has the residual `left`, they lie about `f - q . inner gradient`, which is right to
    the second order; without one about f. Only where f is convex in the inner variable is its tangent a lower bound.
    """
    dtype = left.dtype
    value, slope, _ = problem.outer_gradients(point.params, point.hyper)
    eps = _tree.norm(inner_gradient) / strong_convexity.astype(dtype)
    curvature = outer_lipschitz.astype(dtype) / 2 * eps**2
    if adjoint is None:
        correction = jnp.zeros_like(value)
        slack = _tree.norm(slope) * eps
    else:
        correction = _tree.vdot(adjoint, inner_gradient)
        # The inner gradient differs from its linear model by at most half of L_H eps^2, which the adjoint multiplies.
        slack = left * eps + _tree.norm(adjoint) * hessian_lipschitz.astype(dtype) / 2 * eps**2
    # Values are known to rounding only, and a decrease below that is none.
    slack = slack + 8 * float(jnp.finfo(dtype).eps) * (jnp.abs(value) + jnp.abs(correction))
    center = value - correction
    return center - slack - (0 if convex else curvature), center + slack + curvature
