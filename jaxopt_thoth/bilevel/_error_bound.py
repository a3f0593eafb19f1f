from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative, require_positive


class AbstractErrorBound(eqx.Module):
    """An upper bound of the error of a hypergradient, from what its computation left over."""

    def __call__(
        self, problem: Any, hyper: Params, params: Params, adjoint: Params, inner_residual: Scalar, left: Scalar
    ) -> Scalar:
        """Bound of `|computed - true hypergradient|`, given the inner gradient's norm and the adjoint's residual."""
        raise NotImplementedError


class ErrorBound(AbstractErrorBound):
    """A-posteriori bound of the error of a hypergradient, from the constants of the two objectives.

    With eps = |inner gradient| / mu and delta the residual of the adjoint system, the error is at most
    `|C|/mu (L_g eps + delta) + L_H/mu^2 |g| |C| eps + L_C/mu |g| eps + L_C L_g/mu eps^2 + L_h eps`, where C is the
    cross derivative of the inner objective and g the outer gradient in the inner variable, both at the point. The
    form "operator" puts `|inv(H) C|`, and what it can change within eps, in the place of `|C|/mu` in the first term:
    often a hundred times tighter. It forms C and H, and is for small problems.

    Ehrhardt and Roberts, "Analyzing inexact hypergradients for bilevel learning", 2024; Salehi, Mukherjee, Roberts and
    Ehrhardt, "An adaptively inexact first-order method for bilevel optimization", 2024.

    Args:
        strong_convexity: mu, strong convexity of the inner objective in its inner variable.
        outer_lipschitz: L_g, Lipschitz constant in the inner variable of the outer gradient in it.
        hessian_lipschitz: L_H, Lipschitz constant of the inner Hessian in the inner variable; 0 for quadratics.
        cross_lipschitz: L_C, the same of the cross derivative.
        direct_lipschitz: L_h, the same of the outer gradient in the outer variable; 0 if outer does not use it.
        cross_norm: bound of `|C|`; by default C is formed and its largest singular value taken.
        form: "product" or "operator".

    Raises:
        ValueError: if a constant is negative, `strong_convexity` is not positive, or the form is unknown.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - h) ** 2) / 2
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum(w**2) / 2, inner)
        >>> found = jt.bilevel.hypergradient(problem, 1.0, jnp.array([1.1]), bound=jt.bilevel.ErrorBound(1.0, 1.0))
        >>> print(f"{found.gradient:.1f} is within {found.bound:.1f} of 1.0")
        1.1 is within 0.1 of 1.0
    """

    strong_convexity: Scalar
    outer_lipschitz: Scalar
    hessian_lipschitz: Scalar
    cross_lipschitz: Scalar
    direct_lipschitz: Scalar
    cross_norm: Scalar | None
    form: Literal["product", "operator"] = eqx.field(static=True)

    def __init__(
        self,
        strong_convexity: ArrayLike,
        outer_lipschitz: ArrayLike,
        hessian_lipschitz: ArrayLike = 0.0,
        cross_lipschitz: ArrayLike = 0.0,
        direct_lipschitz: ArrayLike = 0.0,
        *,
        cross_norm: ArrayLike | None = None,
        form: Literal["product", "operator"] = "product",
    ):
        require_positive(strong_convexity, "strong_convexity")
        constants = {
            "outer_lipschitz": outer_lipschitz,
            "hessian_lipschitz": hessian_lipschitz,
            "cross_lipschitz": cross_lipschitz,
            "direct_lipschitz": direct_lipschitz,
        }
        for name, value in constants.items():
            require_nonnegative(value, name)
        if form not in ("product", "operator"):
            raise ValueError(f'form must be "product" or "operator", got {form!r}.')
        if cross_norm is not None:
            require_nonnegative(cross_norm, "cross_norm")
            if form == "operator":
                raise ValueError(
                    'cross_norm has no place in the form "operator", which forms the matrix; leave it out.'
                )
        self.strong_convexity = _tree.setting(strong_convexity)
        self.outer_lipschitz = _tree.setting(outer_lipschitz)
        self.hessian_lipschitz = _tree.setting(hessian_lipschitz)
        self.cross_lipschitz = _tree.setting(cross_lipschitz)
        self.direct_lipschitz = _tree.setting(direct_lipschitz)
        self.cross_norm = None if cross_norm is None else _tree.setting(cross_norm)
        self.form = form

    def __call__(
        self, problem: Any, hyper: Params, params: Params, adjoint: Params, inner_residual: Scalar, left: Scalar
    ) -> Scalar:
        dtype = _tree.dtype_of(params)
        mu, l_g, l_h, l_c, l_direct = (
            value.astype(dtype)
            for value in (
                self.strong_convexity,
                self.outer_lipschitz,
                self.hessian_lipschitz,
                self.cross_lipschitz,
                self.direct_lipschitz,
            )
        )
        eps = inner_residual / mu
        slope = _tree.norm(problem.outer_gradients(params, hyper)[1])
        hessian = None
        if self.cross_norm is not None:
            cross = self.cross_norm.astype(dtype)
        else:
            matrix, hessian = _matrices(problem, hyper, params, with_hessian=self.form == "operator")
            cross = jnp.linalg.norm(matrix, ord=2)
        curved = l_h / mu**2 * slope * cross * eps
        drift = l_c / mu * slope * eps + l_c * l_g / mu * eps**2 + l_direct * eps
        if self.form == "product" or hessian is None:
            return cross / mu * (l_g * eps + left) + curved + drift
        sensitivity = jnp.linalg.norm(jnp.linalg.solve(hessian, matrix), ord=2)
        # How far the inverse Hessian at the solution may be from that at the point.
        moved = l_h / mu**2 * cross * eps
        return (sensitivity + moved) * l_g * eps + sensitivity * left + curved + drift


def _matrices(problem: Any, hyper: Params, params: Params, *, with_hessian: bool) -> tuple[Array, Array | None]:
    flat_params, unravel_params = ravel_pytree(params)
    flat_hyper, unravel_hyper = ravel_pytree(hyper)
    gradient = lambda w, h: ravel_pytree(problem.inner_gradient(unravel_params(w), unravel_hyper(h)))[0]
    forward = flat_hyper.size <= flat_params.size
    cross = (jax.jacfwd if forward else jax.jacrev)(gradient, argnums=1)(flat_params, flat_hyper)
    return cross, jax.jacfwd(gradient)(flat_params, flat_hyper) if with_hessian else None
