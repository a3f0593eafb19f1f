from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from ._base import AbstractLoss
from ._domain import finite_where, require_signs, slack


class Hinge(AbstractLoss):
    """Hinge loss `max(0, 1 - target * score)` of targets -1 or +1, that of the support vector machine.

    Scores and targets have the same shape. It has a kink and a `prox`: take a solver that splits the loss from the
    design (`ChambollePock`), or `SmoothedHinge`. The derivative at the kink is 0.

    Cortes and Vapnik, "Support-vector networks", 1995.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> float(losses.Hinge()(jnp.array(-1.0), jnp.array(1)))
        2.0
    """

    has_bounded_curvature: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = False

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.relu(1 - _tree.match(target, score) * score)

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(jnp.inf)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        sign = _tree.match(target, score)
        return jnp.where(sign * score < 1, -sign, 0)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        aligned = _tree.match(target, dual) * dual
        return finite_where((aligned >= -1 - slack(dual)) & (aligned <= slack(dual)), aligned)

    def prox(self, score: Float[Array, "..."], step: Array, target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        sign, step = _tree.match(target, score), _tree.match(step, score)
        margin = sign * score
        return sign * (margin + jnp.clip(1 - margin, 0, step))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_signs(targets, "Hinge")
