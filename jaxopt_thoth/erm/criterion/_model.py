"""A fitted model as the criteria see it."""

from typing import Any

from jaxtyping import Array

from ..._types import Scalar
from ...losses import Squared
from .._problem import Problem


def check_fit(problem: Problem, fit: Any) -> tuple[Array, Array]:
    """Coefficients and intercept of a fit, or of a pair of them."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an erm.Problem, got {type(problem).__name__}; build it first.")
    pair = fit if isinstance(fit, tuple) else (getattr(fit, "coef", None), getattr(fit, "intercept", None))
    if len(pair) != 2 or any(part is None for part in pair):
        raise TypeError(f"fit must be an erm.Fit or a pair (coef, intercept), got {type(fit).__name__}.")
    coef, intercept = pair
    if coef.shape != problem.coef_shape:
        raise ValueError(
            f"coef must have shape {problem.coef_shape}, got {coef.shape}; take one strength of a path at a time, or "
            "jax.vmap over them."
        )
    return coef, intercept


def mean_loss(problem: Problem, fit: Any) -> Scalar:
    coef, intercept = check_fit(problem, fit)
    return problem.composite.smooth.value(problem.join(coef, intercept))


def require_squared(problem: Problem, name: str) -> None:
    if not isinstance(problem.loss, Squared):
        raise ValueError(f"{name} needs losses.Squared, got {type(problem.loss).__name__}; take held_out_loss or aic.")
    require_unweighted(problem, name)


def require_unweighted(problem: Problem, name: str) -> None:
    if problem.weights is not None:
        raise ValueError(f"{name} counts rows, and needs a problem with weights=None; drop or repeat rows instead.")


def num_outputs(problem: Problem) -> int:
    return problem.targets.shape[1] if problem.targets.ndim == 2 else 1
