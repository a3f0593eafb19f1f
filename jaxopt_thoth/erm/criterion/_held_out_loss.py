from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from ..._types import Scalar
from ...operators import as_operator
from ...smooth import LinearModel
from .._problem import Problem
from ._model import check_fit


def held_out_loss(
    problem: Problem,
    fit: Any,
    design: Any,
    targets: Shaped[ArrayLike, "m *k"],
    *,
    weights: ArrayLike | None = None,
    scoring: Callable[[Array, Array], Array] | None = None,
) -> Scalar:
    """Mean loss of a fitted model on other rows than those it was fitted to.

    Args:
        problem: what was fitted.
        fit: a `Fit`, or a pair (coef, intercept).
        design: the other rows, (m, p), of any kind that `Problem` takes.
        targets: theirs, (m,) or (m, k).
        weights: of these rows, (m,); None weighs all alike.
        scoring: a loss, or a function of scores and targets to a loss for each row; None is the loss of the problem.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a shape does not fit.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> def loss(strength):
        ...     problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(strength), jnp.eye(1), jnp.array([3.0]))
        ...     return erm.criterion.held_out_loss(problem, erm.fit(problem, tol=1e-6), jnp.eye(1), jnp.array([2.0]))
        >>> print(jax.grad(loss)(0.5).round(3))  # the coefficient is 3 - strength
        -0.5
    """
    coef, intercept = check_fit(problem, fit)
    model = LinearModel(problem.loss, as_operator(design), targets, weights)
    scores = model.image(coef)
    scores = scores + jnp.broadcast_to(intercept, scores.shape)
    losses = (problem.loss if scoring is None else scoring)(scores, model.targets)
    return jnp.sum(model.share(losses))
