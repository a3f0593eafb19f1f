"""What methods around an inner solver share: the smoothed problem, its default strength, and their error."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar, State
from .._validate import known_leaves
from ..penalties import Regularized, strong_convexity
from ..problems import Composite
from ..smooth import LinearModel
from ._base import AbstractSolver
from ._inverse_curvature import inverse_curvature
from ._relative_error import relative_error


# The first curvature that Cyanure tries in its line search, as a part of the greatest one of a row.
_FIRST_PART = 100


def require_inner(inner: Any) -> None:
    """Raise `TypeError` unless `inner` is a solver of composite problems."""
    if not isinstance(inner, AbstractSolver) or inner.problem_kind is not Composite:
        raise TypeError(
            f"inner must be a solver of composite problems, got {type(inner).__name__}; "
            "pass for example ProximalGradient(accelerated=False)."
        )


def require_convex(outer: AbstractSolver, problem: Composite) -> None:
    """Raise `ValueError` for a penalty that is known not to be convex."""
    if not problem.penalty.is_convex:
        raise ValueError(
            f"{type(outer).__name__} needs a convex penalty, got {type(problem.penalty).__name__}; "
            "use ProximalGradient(accelerated=False)."
        )


def check_smoothed(outer: Any, problem: Composite, params: Params) -> None:
    """Raise where the penalty is not convex, or the inner solver cannot take the smoothed problem."""
    require_convex(outer, problem)
    # By default a smoothing is zero only where the penalty is strongly convex already.
    strength = jnp.ones(()) if outer.smoothing is None else jnp.maximum(outer.smoothing, 0)
    outer.inner.check(smoothed(problem, strength, params), params)


def smoothing_setting(smoothing: ArrayLike | None) -> Scalar | None:
    """`smoothing` as a leaf, or None for the default; raises `ValueError` where it is known not to be finite."""
    if smoothing is None:
        return None
    for known in known_leaves(smoothing):
        if not np.all(np.isfinite(known)):
            raise ValueError(f"smoothing must be finite, got {known}; pass None for the default.")
    return _tree.setting(smoothing)


def smoothed(problem: Composite, strength: Scalar, center: Params) -> Composite:
    """The problem with `strength / 2 |w - center|^2` added to its penalty."""
    return Composite(problem.smooth, Regularized(problem.penalty, strength, center))


def smoothing_and_convexity(
    inner: AbstractSolver, setting: Scalar | None, problem: Composite, params: Params
) -> tuple[Scalar, Scalar]:
    """The strength kappa >= 0 of the smoothing, as set or by default, and the strong convexity of the penalty."""
    dtype = _tree.dtype_of(params)
    convexity = strong_convexity(problem.penalty).astype(dtype)
    if setting is not None:
        strength = setting.astype(dtype)
    elif inner.is_incremental and isinstance(problem.smooth, LinearModel):
        strength = row_curvature(problem, params).astype(dtype) / problem.smooth.num_rows - convexity
    else:
        strength = row_curvature(problem, params).astype(dtype) / _FIRST_PART
    return jnp.maximum(strength, 0), convexity


def row_curvature(problem: Composite, params: Params) -> Scalar:
    """Greatest curvature of the loss of a row as a term of a mean; of the whole where it is no `LinearModel`.

    A loss of unbounded curvature is taken at `params`.
    """
    smooth = problem.smooth
    if not isinstance(smooth, LinearModel):
        return 1 / inverse_curvature(problem, params)
    rows = smooth.num_rows * smooth.row_weights * smooth.design.squared_row_norms()
    if smooth.loss.has_bounded_curvature:
        return jnp.asarray(smooth.loss.curvature, rows.dtype) * jnp.max(rows)
    scores = smooth.image(params)
    slope = lambda scores: smooth.loss.derivative(scores, smooth.targets)
    curvature = jax.jvp(slope, (scores,), (jnp.ones_like(scores),))[1]
    return jnp.max(curvature.reshape(rows.size, -1).max(axis=1) * rows)


def outer_error(
    inner: AbstractSolver,
    near: Composite,
    state: State,
    problem: Composite,
    params: Params,
    gradient: Params,
    least: Scalar,
) -> tuple[Scalar, Scalar]:
    """Relative norm of the prox-gradient residual of the problem itself, and the least norm of a gradient so far."""
    step = inner.fixed_point_step(near, params, state).astype(_tree.dtype_of(params))
    stepped = problem.penalty.prox(_tree.add_scaled(params, -step, gradient), step)
    return relative_error(_tree.scale(1 / step, _tree.sub(params, stepped)), gradient, least)


def repeat(inner: AbstractSolver, count: int, problem: Composite, params: Params, state: State) -> tuple[Params, State]:
    """A number of steps of a solver."""
    if count == 1:
        return inner.step(problem, params, state)
    advance = lambda carry, _: (inner.step(problem, *carry), None)
    return lax.scan(advance, (params, state), None, length=count)[0]
