"""Dual points of a linear model: candidates from residuals, their extrapolation, and what they certify."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import BoolScalar, IntScalar, Scalar
from ..losses import AbstractLoss
from ..penalties import AbstractPenalty, ElasticNet, ExceptLast, GroupLasso, L1, L2Squared, Regularized
from ..problems import Composite
from ._working_set_inner import anderson_weights, MEMORY
from ._working_set_rows import vanishing_rows
from ._working_set_solve import model_of


class DualPoint(eqx.Module):
    """A feasible dual point u, `-X'u` over the rows in the mean, and its objective; infeasible where that is -inf."""

    dual: Float[Array, "n *k"]
    correlation: Float[Array, "p *k"]
    value: Scalar


class DualHistory(eqx.Module):
    """The last dual points before scaling, the newest one last."""

    duals: Float[Array, "memory n *k"]
    correlations: Float[Array, "memory p *k"]
    count: IntScalar

    def extended(self, dual: Array, correlation: Array) -> "DualHistory":
        push = lambda old, new: jnp.concatenate([old[1:], new[None]])
        return DualHistory(push(self.duals, dual), push(self.correlations, correlation), self.count + 1)


def has_duality_gap(problem: Composite) -> bool:
    """Whether a residual can be scaled to a dual point whose gap falls to zero."""
    penalty: AbstractPenalty = problem.penalty
    while isinstance(penalty, (ExceptLast, Regularized)):
        penalty = penalty.penalty
    loss = model_of(problem).loss
    known = type(loss).conjugate is not AbstractLoss.conjugate
    return known and isinstance(penalty, (L1, L2Squared, ElasticNet, GroupLasso))


def no_history(dual: Float[Array, "n *k"], correlation: Float[Array, "p *k"]) -> DualHistory:
    size = MEMORY + 1
    zeros = lambda a: jnp.zeros((size, *a.shape), a.dtype)
    return DualHistory(zeros(dual), zeros(correlation), jnp.zeros((), jnp.int32))


def dual_point(problem: Composite, dual: Array, correlation: Array, allowed: BoolScalar | bool = True) -> DualPoint:
    """A point scaled into the domain of the conjugate of the penalty, with its objective."""
    smooth = model_of(problem)
    factor = problem.penalty.dual_scale(correlation)
    dual, correlation = factor * dual, factor * correlation
    value = -jnp.sum(smooth.share(smooth.loss.conjugate(dual, smooth.targets))) - problem.penalty.conjugate(correlation)
    return DualPoint(dual, correlation, jnp.where(allowed & jnp.isfinite(value), value, -jnp.inf))


def residual_of(problem: Composite, image: Array, gradient: Array) -> tuple[Array, Array]:
    """The derivative of the loss and minus its product with the design, balanced where there is an intercept."""
    smooth = model_of(problem)
    dual = smooth.loss.derivative(image, smooth.targets)
    if not _has_intercept(problem.penalty):
        return dual, -gradient
    dual = smooth.loss.balance_dual(dual, smooth.targets, smooth.row_weights)
    correlation = -smooth.design.rmatvec(smooth.share(dual))
    # What rounding leaves there would count as infeasible.
    return dual, correlation.at[-1].set(0)


def better_of(first: DualPoint, second: DualPoint) -> DualPoint:
    wins = second.value > first.value
    pick = lambda a, b: jnp.where(wins, b, a)
    return DualPoint(
        pick(first.dual, second.dual),
        pick(first.correlation, second.correlation),
        pick(first.value, second.value),
    )


def extrapolated(problem: Composite, history: DualHistory) -> DualPoint:
    """The affine combination of the last points whose moves cancel best, once there are enough of them."""
    weights = anderson_weights(history.duals)
    dual = jnp.tensordot(weights, history.duals[1:], 1)
    correlation = jnp.tensordot(weights, history.correlations[1:], 1)
    return dual_point(problem, dual, correlation, history.count > MEMORY)


def screened_rows(problem: Composite, point: DualPoint, gap: Scalar, norms: Float[Array, " p"]) -> Bool[Array, " p"]:
    """Rows that a gap-safe sphere around a dual point shows to be zero at every solution.

    The dual objective is strongly concave, of modulus one over the curvature of the loss in the mean over the rows, so
    that the solution is within `sqrt(2 curvature gap)` of a point of that gap, and the correlation of a column within
    that times its norm.
    """
    loss = model_of(problem).loss
    if not (problem.penalty.is_convex and loss.has_bounded_curvature):
        return jnp.zeros(norms.shape, bool)
    eps = float(jnp.finfo(norms.dtype).eps)
    slack = 64 * eps * (jnp.abs(point.value) + gap)
    radius = jnp.sqrt(2 * jnp.asarray(loss.curvature, norms.dtype) * (jnp.maximum(gap, 0) + slack))
    known = jnp.isfinite(radius)
    # Rounding of the correlation, too, must not remove a row on the boundary.
    radii = norms * jnp.where(known, radius, 0) * (1 + 64 * eps)
    return known & vanishing_rows(problem.penalty, point.correlation, radii)


def _has_intercept(penalty: AbstractPenalty) -> bool:
    while isinstance(penalty, Regularized):
        penalty = penalty.penalty
    return isinstance(penalty, ExceptLast)
