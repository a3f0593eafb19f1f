from typing import Any

from jaxtyping import ArrayLike, PRNGKeyArray

from ..._types import Scalar
from .._problem import Problem
from ._degrees_of_freedom import degrees_of_freedom
from ._deviance import deviance


def aic(
    problem: Problem,
    fit: Any,
    noise_variance: ArrayLike | None = None,
    *,
    key: PRNGKeyArray | None = None,
    num_probes: int = 16,
) -> Scalar:
    """Akaike's criterion: twice the negative log-likelihood plus `2 dof`, up to a constant.

    The loss of a row counts as its negative log-likelihood, as a logistic or Poisson loss is; a squared one is over the
    variance of the noise, or where that is None `m log(mean square of residuals)` stands for it, m counting targets.

    Args:
        problem: what was fitted, without weights.
        fit: a `Fit`, or a pair (coef, intercept).
        noise_variance: of the targets of a squared loss, where it is known.
        key, num_probes: as in `degrees_of_freedom`.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if rows are weighted, or the variance is not positive or goes with another loss.

    Akaike, "Information theory and an extension of the maximum likelihood principle", 1973.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(1.0), jnp.eye(2), jnp.array([4.0, 1.0]))
        >>> print(erm.criterion.aic(problem, erm.fit(problem, tol=1e-6), noise_variance=1.0).round(2))
        7.0
    """
    dof = degrees_of_freedom(problem, fit, key=key, num_probes=num_probes)
    return deviance(problem, fit, noise_variance, "aic") + 2 * dof
