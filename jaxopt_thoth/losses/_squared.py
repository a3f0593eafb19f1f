from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from ._base import AbstractLoss
from ._domain import require_finite, rows_like


class Squared(AbstractLoss):
    """Half the squared residual, `(score - target)^2 / 2`.

    Scores and targets have the same shape; several scores a row (multi-task) give one loss each.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> float(losses.Squared()(jnp.array(3.0), jnp.array(1.0)))
        2.0
    """

    is_quadratic: ClassVar[bool] = True

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return 0.5 * self.derivative(score, target) ** 2

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(1.0)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return score - _tree.match(target, score)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return dual * (0.5 * dual + _tree.match(target, dual))

    def divergence(
        self, new: Float[Array, "..."], old: Float[Array, "..."], target: Shaped[Array, "..."]
    ) -> Float[Array, "..."]:
        return 0.5 * (new - old) ** 2

    def fenchel_young(
        self, score: Float[Array, "..."], dual: Float[Array, "..."], target: Shaped[Array, "..."]
    ) -> Float[Array, "..."]:
        return 0.5 * (self.derivative(score, target) - dual) ** 2

    def balance_dual(
        self, dual: Float[Array, "n *k"], targets: Shaped[Array, "n *k"], weights: Float[Array, " n"]
    ) -> Float[Array, "n *k"]:
        """As for every loss: the weighted mean is taken off."""
        return dual - jnp.broadcast_to(_mean(weights, dual), dual.shape)

    def best_constant(
        self, targets: Shaped[Array, "n *k"], weights: Float[Array, " n"], num_outputs: int | None = None
    ) -> Float[Array, " *k"]:
        return _mean(weights, targets.astype(weights.dtype))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_finite(targets, "Squared")


def _mean(weights: Float[Array, " n"], x: Float[Array, "n *k"]) -> Float[Array, " *k"]:
    weights = rows_like(weights, x)
    return jnp.sum(weights * x, 0) / jnp.sum(weights, 0)
