from typing import Any

import jax.numpy as jnp
from jaxtyping import ArrayLike

from ... import _tree
from ..._types import Scalar
from ..._validate import require_positive
from ...losses import Squared
from .._problem import Problem
from ._model import mean_loss, num_outputs, require_unweighted


def deviance(problem: Problem, fit: Any, noise_variance: ArrayLike | None, name: str) -> Scalar:
    """Twice the negative log-likelihood, up to a constant."""
    loss = mean_loss(problem, fit)
    require_unweighted(problem, name)
    n = problem.targets.shape[0]
    if not isinstance(problem.loss, Squared):
        if noise_variance is not None:
            raise ValueError(f"noise_variance goes with losses.Squared, got {type(problem.loss).__name__}; pass None.")
        return 2 * n * loss
    if noise_variance is None:
        # The likelihood at the variance that suits the residuals best.
        count = n * num_outputs(problem)
        return count * jnp.log(2 * n * loss / count)
    require_positive(noise_variance, "noise_variance")
    return 2 * n * loss / _tree.setting(noise_variance).astype(loss.dtype)
