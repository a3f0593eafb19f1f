"""How good a point is: the objective, a lower bound of its minimum, and the error that ends a fit."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Scalar, State
from .._validate import concrete
from ..penalties import AbstractPenalty, Box, Cone, ExceptLast, Indicator, NonNegative, Scaled, Zero
from ..problems import Composite, primal_dual
from ..solvers import AbstractSolver, WorkingSetDescent


class Certificate(eqx.Module):
    """The objective, the dual objective, the gap between them, and the error in the units of a relative gap."""

    primal: Scalar
    dual: Scalar
    gap: Scalar
    error: Scalar

    @classmethod
    def blank(cls, dtype: Any) -> Self:
        infinity = jnp.asarray(jnp.inf, dtype)
        return cls(infinity, -infinity, infinity, infinity)

    @classmethod
    def between(cls, primal: Scalar, dual: Scalar) -> Self:
        """That of a primal and a dual value, whose difference is rounding where it is below that of the values."""
        rounding = 2 * float(jnp.finfo(primal.dtype).eps) * jnp.abs(primal)
        # The values round on their own, and a gap of zero would claim more than is known.
        gap = jnp.maximum(primal - dual, 0) + rounding
        relative = gap / jnp.maximum(jnp.abs(primal), float(jnp.finfo(primal.dtype).tiny))
        return cls(primal, dual, gap, relative)

    def updated(self, new: Self) -> Self:
        """The best of both sides, which need not be of one check."""
        return self.between(jnp.minimum(self.primal, new.primal), jnp.maximum(self.dual, new.dual))


def certificate(problem: Composite, solver: AbstractSolver, params: Array, state: State, bounded: bool) -> Certificate:
    """What is known of `params`; with `bounded`, from the better of the dual points of the residual and the solver."""
    if not bounded:
        value = problem.value(params)
        infinity = jnp.full_like(value, jnp.inf)
        return Certificate(value, -infinity, infinity, solver.error(problem, params, state).astype(value.dtype))
    if isinstance(solver, WorkingSetDescent) and state.best is not None and params.dtype == jnp.float64:
        # It has the same certificate at hand; in single precision its sums are not compensated.
        return Certificate.between(state.value, state.best.value)
    primal, dual = primal_dual(problem.smooth, problem.penalty, params)
    offer = getattr(solver, "dual_candidate", None)
    if offer is not None and (candidate := offer(problem, params, state)) is not None:
        dual = jnp.maximum(dual, primal_dual(problem.smooth, problem.penalty, params, candidate)[1])
    # An iterate that overflowed has no bound.
    dual = jnp.where(jnp.isnan(dual), -jnp.inf, dual)
    return Certificate.between(primal, dual)


def has_gap(problem: Composite, params: Array) -> bool:
    """Whether residuals give a dual point whose value reaches the minimum."""
    if not _scales(problem.penalty):
        return False
    try:
        jax.eval_shape(lambda w: primal_dual(problem.smooth, problem.penalty, w), params)
    except NotImplementedError:
        return False
    return problem.penalty.is_convex


def _scales(penalty: AbstractPenalty) -> bool:
    """Whether some factor brings every dual point near a feasible one: not where the domain is a cone or a point."""
    if isinstance(penalty, ExceptLast | Scaled):
        return _scales(penalty.penalty)
    if isinstance(penalty, Box):
        bounds = [concrete(bound) for bound in jax.tree.leaves((penalty.lower, penalty.upper))]
        return all(bound is not None and bool(jnp.all(jnp.isfinite(bound))) for bound in bounds)
    return not isinstance(penalty, Zero | NonNegative | Cone | Indicator)
