from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ._bilevel import Bilevel, BilevelPoint
from ._error_bound import AbstractErrorBound, ErrorBound
from ._hypergradient import hypergradient
from ._maid_bracket import outer_bracket
from ._maid_inner import InnerSolution, minimize_to_residual
from ._maid_state import MAIDState


class CertifiedOracle(eqx.Module):
    """What `MAID` may ask of a problem: inner solutions and hypergradients of given accuracy, with their certificates.

    Its fields are settings of `MAID`.
    """

    bound: AbstractErrorBound | Callable[[Params], AbstractErrorBound]
    strong_convexity: Scalar | None
    outer_lipschitz: Scalar | None
    inner_lipschitz: Scalar | Callable[[Params], Scalar] | None
    value: Literal["corrected", "interval"] = eqx.field(static=True)
    convex: bool = eqx.field(static=True)
    max_inner_steps: int = eqx.field(static=True)

    def constants(self, hyper: Params) -> tuple[AbstractErrorBound, Scalar, Scalar, Scalar]:
        """The bound at an outer variable, and mu, L_g and L_H there."""
        bound: Any = self.bound if isinstance(self.bound, AbstractErrorBound) else self.bound(hyper)
        if isinstance(bound, ErrorBound):
            return bound, bound.strong_convexity, bound.outer_lipschitz, bound.hessian_lipschitz
        if self.strong_convexity is None or self.outer_lipschitz is None:
            raise TypeError(f"bound must return an ErrorBound, got {type(bound).__name__}.")
        return bound, self.strong_convexity, self.outer_lipschitz, jnp.zeros_like(self.outer_lipschitz)

    def minimize(
        self, problem: Bilevel, point: BilevelPoint, value: Scalar, gradient: Params, eps: Scalar, lipschitz: Scalar
    ) -> InnerSolution:
        _, mu, _, _ = self.constants(point.hyper)
        known = self.inner_lipschitz
        if known is not None:
            lipschitz = jnp.asarray(known(point.hyper) if callable(known) else known).astype(eps.dtype)
        return minimize_to_residual(
            problem.inner_problem(point.hyper).smooth,
            point.params,
            value,
            gradient,
            mu.astype(eps.dtype) * eps,
            mu,
            lipschitz,
            search=known is None,
            max_steps=self.max_inner_steps,
        )

    def bracket(
        self, problem: Bilevel, point: BilevelPoint, inner_gradient: Params, adjoint: Params, left: Scalar
    ) -> tuple[Scalar, Scalar]:
        _, mu, outer_lipschitz, hessian_lipschitz = self.constants(point.hyper)
        return outer_bracket(
            problem,
            point,
            inner_gradient,
            adjoint if self.value == "corrected" else None,
            left,
            mu,
            outer_lipschitz,
            hessian_lipschitz,
            convex=self.convex,
        )

    def refine(
        self, problem: Bilevel, point: BilevelPoint, state: MAIDState, moved: BoolScalar
    ) -> tuple[BilevelPoint, MAIDState]:
        """The point, its hypergradient and their certificates, to the accuracies of the state."""
        inner = self.minimize(problem, point, state.inner_value, state.inner_gradient, state.eps, state.inner_lipschitz)
        point = BilevelPoint(point.hyper, inner.params)
        bound = self.constants(point.hyper)[0]
        found = hypergradient(
            problem, point.hyper, point.params, adjoint=state.adjoint, rtol=0.0, atol=state.delta, bound=bound
        )
        dtype = state.eps.dtype
        measure = _tree.norm(found.gradient).astype(dtype)
        if problem.projection is not None:
            end = problem.project(_tree.add_scaled(point.hyper, -state.step_size, found.gradient))
            measure = _tree.norm(_tree.sub(end, point.hyper)).astype(dtype) / state.step_size
        lower, upper = self.bracket(problem, point, inner.gradient, found.adjoint, found.adjoint_residual)
        omega = jnp.asarray(found.bound).astype(dtype)
        # A move may still mend what rounding, or the bound on the inner steps, has kept from its accuracy.
        reached = inner.converged & found.converged
        return point, MAIDState(
            eps=state.eps,
            delta=state.delta,
            step_size=state.step_size,
            gradient=found.gradient,
            adjoint=found.adjoint,
            measure=measure,
            bound=omega,
            lower=lower,
            upper=upper,
            inner_value=problem.inner_problem(point.hyper).smooth.value(point.params),
            inner_gradient=inner.gradient,
            inner_lipschitz=inner.lipschitz,
            num_inner=state.num_inner + inner.num_gradients,
            num_products=state.num_products + found.num_steps,
            certified=jnp.isfinite(omega) & isinstance(bound, ErrorBound),
            stalled=~reached & ~moved,
        )
