from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import known_leaves
from ._base import AbstractLoss
from ._domain import finite_where, require_finite, slack


class Pinball(AbstractLoss):
    """Quantile loss: `quantile * r` for residuals `r = target - score` above zero, `(quantile - 1) * r` below.

    Its best constant is the quantile of the targets; half the absolute value at 1/2. Scores and targets have the same
    shape. It has a kink and a `prox`: take a solver that splits the loss from the design (`ChambollePock`). Raises
    `ValueError` unless a known `quantile` lies strictly between 0 and 1.

    Koenker and Bassett, "Regression quantiles", 1978.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> losses.Pinball(0.75)(jnp.array([0.0, 0.0]), jnp.array([1.0, -1.0])).tolist()
        [0.75, 0.25]
    """

    quantile: Scalar

    has_bounded_curvature: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = False

    def __init__(self, quantile: ArrayLike = 0.5):
        for known in known_leaves(quantile):
            if not ((known > 0) & (known < 1)).all():
                raise ValueError(f"quantile must be between 0 and 1, got {known}; pass for example 0.9.")
        self.quantile = _tree.setting(quantile)

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        residual, quantile = _tree.match(target, score) - score, _tree.match(self.quantile, score)
        return jnp.where(residual > 0, quantile * residual, (quantile - 1) * residual)

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(jnp.inf)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        residual, quantile = _tree.match(target, score) - score, _tree.match(self.quantile, score)
        return jnp.where(residual > 0, -quantile, jnp.where(residual < 0, 1 - quantile, 0))

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        quantile = _tree.match(self.quantile, dual)
        inside = (dual >= -quantile - slack(dual)) & (dual <= 1 - quantile + slack(dual))
        return finite_where(inside, dual * _tree.match(target, dual))

    def prox(self, score: Float[Array, "..."], step: Array, target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        quantile, step = _tree.match(self.quantile, score), _tree.match(step, score)
        residual = _tree.match(target, score) - score
        return score + jnp.clip(residual, (quantile - 1) * step, quantile * step)

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_finite(targets, "Pinball")
