from typing import Any

from jaxtyping import ArrayLike

from .._types import Scalar
from ..losses import AbstractLoss
from ..penalties import AbstractPenalty
from ._problem import Problem


def critical_strength(
    loss: AbstractLoss,
    penalty: AbstractPenalty,
    design: Any,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    fit_intercept: bool = False,
    *,
    num_classes: int | None = None,
) -> Scalar:
    """Smallest strength of the penalty for which no coefficient leaves zero: where a path of strengths begins.

    With an intercept, the gradient is that at the best constant model. The strength the penalty has does not matter.

    Args:
        loss, penalty, design, targets, weights, fit_intercept, num_classes: as in `Problem`.

    Raises:
        NotImplementedError: if the penalty has no critical strength, as a ridge has none.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> design, targets = jnp.eye(2), jnp.array([3.0, 1.0])
        >>> float(jt.erm.critical_strength(jt.losses.Squared(), jt.penalties.L1(1.0), design, targets))
        1.5
    """
    problem = Problem(
        loss, penalty, design, targets, weights=weights, fit_intercept=fit_intercept, num_classes=num_classes
    )
    composite = problem.composite
    return composite.penalty.critical_strength(composite.smooth.gradient(problem.constant_model()))
