from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from ._base import AbstractLoss
from ._domain import require_finite


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

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_finite(targets, "Squared")
