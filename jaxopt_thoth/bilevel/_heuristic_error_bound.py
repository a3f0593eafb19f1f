from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ..implicit import warm_linear_solve
from ._error_bound import AbstractErrorBound


class HeuristicErrorBound(AbstractErrorBound):
    """Estimate of the error of a hypergradient without any constant: how far one Newton step moves it.

    The inner variable is moved by a Newton step, the adjoint system solved there, and the distance between the two
    hypergradients, times a safety factor, is returned. It is no certificate, but right to first order in the inner
    error; it costs two more linear solves.

    Args:
        safety: factor on the distance.
        rtol: tolerance of the linear solves.

    Raises:
        ValueError: if a setting is not positive.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum(w**2) / 2, lambda w, h: jnp.sum((w - h) ** 2) / 2)
        >>> bound = jt.bilevel.HeuristicErrorBound()
        >>> found = jt.bilevel.hypergradient(problem, 1.0, jnp.array([1.1]), bound=bound)
        >>> print(f"{found.gradient:.1f} is within {found.bound:.1f} of 1.0")
        1.1 is within 0.2 of 1.0
    """

    safety: Scalar
    rtol: Scalar

    def __init__(self, safety: ArrayLike = 2.0, rtol: ArrayLike = 1e-3):
        require_positive(safety, "safety")
        require_positive(rtol, "rtol")
        self.safety = _tree.setting(safety)
        self.rtol = _tree.setting(rtol)

    def __call__(
        self, problem: Any, hyper: Params, params: Params, adjoint: Params, inner_residual: Scalar, left: Scalar
    ) -> Scalar:
        dtype = _tree.dtype_of(params)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        settings: Any = {"rtol": self.rtol.astype(dtype), "atol": jnp.zeros((), dtype), "max_steps": 4 * size + 100}

        def gradient_at(w: Params, q: Params) -> Params:
            along_hyper = problem.outer_gradients(w, hyper)[2]
            pullback = jax.vjp(lambda h: problem.inner_gradient(w, h), hyper)[1]
            return _tree.sub(along_hyper, pullback(q)[0])

        gradient, hessian = jax.linearize(lambda w: problem.inner_gradient(w, hyper), params)
        newton = _tree.sub(params, warm_linear_solve(hessian, gradient, None, **settings).value)
        hessian = jax.linearize(lambda w: problem.inner_gradient(w, hyper), newton)[1]
        outer = problem.outer_gradients(newton, hyper)[1]
        # Warm and to a tolerance relative to what the start leaves, so that a small error is seen.
        rest = _tree.sub(outer, hessian(adjoint))
        moved = _tree.add(adjoint, warm_linear_solve(hessian, rest, None, **settings).value)
        distance = _tree.norm(_tree.sub(gradient_at(newton, moved), gradient_at(params, adjoint)))
        return self.safety.astype(dtype) * distance
