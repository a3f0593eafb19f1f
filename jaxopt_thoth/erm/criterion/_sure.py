from typing import Any

from jaxtyping import ArrayLike, PRNGKeyArray

from ... import _tree
from ..._types import Scalar
from ..._validate import require_nonnegative
from .._problem import Problem
from ._degrees_of_freedom import degrees_of_freedom
from ._model import mean_loss, num_outputs, require_squared


def sure(
    problem: Problem, fit: Any, noise_variance: ArrayLike, *, key: PRNGKeyArray | None = None, num_probes: int = 16
) -> Scalar:
    """Stein's unbiased estimate of the mean squared error of the predictions, for normal noise of known variance.

    `1/n sum_i |y_i - yhat_i|^2 - k v + 2 v dof / n`, whose mean is that of `1/n sum_i |E y_i - yhat_i|^2`; v is the
    variance of each of the k entries of a row of targets. The dof of a lasso is constant between the kinks of the path,
    so that its derivative in the strength is that of the first term alone.

    Args:
        problem: what was fitted, with a squared loss and no weights.
        fit: a `Fit`, or a pair (coef, intercept).
        noise_variance: v.
        key, num_probes: as in `degrees_of_freedom`.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the loss is another, rows are weighted, or the variance is negative.

    Stein, "Estimation of the mean of a multivariate normal distribution", 1981.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(1.0), jnp.eye(2), jnp.array([4.0, 1.0]))
        >>> print(erm.criterion.sure(problem, erm.fit(problem, tol=1e-6), 1.0).round(2))
        2.5
    """
    require_nonnegative(noise_variance, "noise_variance")
    squares = 2 * mean_loss(problem, fit)
    require_squared(problem, "sure")
    variance = _tree.setting(noise_variance).astype(squares.dtype)
    dof = degrees_of_freedom(problem, fit, key=key, num_probes=num_probes)
    return squares - num_outputs(problem) * variance + 2 * variance * dof / problem.targets.shape[0]
