from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ... import _tree
from ..._types import Scalar
from ...implicit import attach, Implicit
from ...penalties import L1, Tilted
from ...problems import Composite
from .._problem import Problem
from .._walk import step_of
from ._model import check_fit


def degrees_of_freedom(
    problem: Problem, fit: Any, *, key: PRNGKeyArray | None = None, num_probes: int = 16, tol: float | None = None
) -> Scalar:
    """Effective number of parameters of a fit: the divergence of its predictions in the targets.

    With H the Hessian of the mean loss at the fit and c a linear term added to the objective, it is the trace of
    `-(dw/dc) H`. For a squared loss that is `sum_i d yhat_i / d y_i`; for a ridge the trace of its hat matrix; an
    unpenalized intercept counts one. For `L1` it is the size of the support, which the fit has to name exactly. The
    derivatives dw/dc are those of the optimality conditions.

    Args:
        problem: what was fitted.
        fit: a `Fit`, or a pair (coef, intercept).
        key: random key of Hutchinson's estimate; None is the exact trace, with one linear solve a parameter.
        num_probes: random signs of that estimate.
        tol: how exact the fit is, which the linear solves follow; None is the tolerance of the dtype.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the loss has kinks, or a number is out of range.

    Stein, "Estimation of the mean of a multivariate normal distribution", 1981; Zou, Hastie and Tibshirani, "On the
    degrees of freedom of the lasso", 2007; Hutchinson, "A stochastic estimator of the trace of the influence matrix
    for Laplacian smoothing splines", 1990.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L2Squared(1.0), jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> fit = erm.fit(problem, tol=1e-6)
        >>> print(f"{erm.criterion.degrees_of_freedom(problem, fit):.3f}")  # two columns, each shrunk to a third
        0.667
    """
    coef, intercept = check_fit(problem, fit)
    if not problem.loss.is_smooth:
        raise ValueError(f"degrees_of_freedom needs a loss without kinks, got {type(problem.loss).__name__}.")
    if num_probes < 1:
        raise ValueError(f"num_probes must be at least 1, got {num_probes}.")
    if isinstance(problem.penalty, L1):
        free = intercept.size if problem.fit_intercept else 0
        return jnp.sum(coef != 0).astype(coef.dtype) + free
    live = problem.composite
    tolerance = jnp.asarray(_tree.default_tolerance(coef.dtype) if tol is None else tol, coef.dtype)
    params, step = problem.join(coef, intercept), step_of(problem, problem.join(coef, intercept))

    def solution(linear: Array) -> Array:
        tilted = Composite(live.smooth, Tilted(live.penalty, linear))
        return attach(Implicit(), tilted, params, step, tolerance)

    zero = jnp.zeros_like(params)

    def product(probe: Array) -> Scalar:
        """`z' (-dw/dc H) z`."""
        curved = live.smooth.hvp(solution(zero), probe)
        return -jnp.sum(probe * jax.jvp(solution, (zero,), (curved,))[1])

    if key is None:
        return jnp.sum(jax.lax.map(product, jnp.eye(zero.size, dtype=zero.dtype).reshape(-1, *zero.shape)))
    probes = jax.random.rademacher(key, (num_probes, *zero.shape), zero.dtype)
    return jnp.mean(jax.lax.map(product, probes))
