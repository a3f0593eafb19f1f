from typing import Any

from jaxtyping import PRNGKeyArray

from ..._types import Scalar
from .._problem import Problem
from ._degrees_of_freedom import degrees_of_freedom
from ._model import mean_loss, num_outputs, require_squared


def gcv(problem: Problem, fit: Any, *, key: PRNGKeyArray | None = None, num_probes: int = 16) -> Scalar:
    """Generalized cross-validation: the mean square of residuals over `(1 - dof / n)^2`.

    For k outputs n stands for the number n k of targets.

    Args:
        problem: what was fitted, with a squared loss and no weights.
        fit: a `Fit`, or a pair (coef, intercept).
        key, num_probes: as in `degrees_of_freedom`.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the loss is another, or rows are weighted.

    Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", 1979.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(1.0), jnp.eye(2), jnp.array([4.0, 1.0]))
        >>> print(erm.criterion.gcv(problem, erm.fit(problem, tol=1e-6)).round(2))
        10.0
    """
    squares = 2 * mean_loss(problem, fit)
    require_squared(problem, "gcv")
    count = problem.targets.shape[0] * num_outputs(problem)
    left = 1 - degrees_of_freedom(problem, fit, key=key, num_probes=num_probes) / count
    return squares / num_outputs(problem) / left**2
