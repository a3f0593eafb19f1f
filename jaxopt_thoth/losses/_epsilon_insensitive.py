from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractLoss
from ._domain import finite_where, require_finite, slack


class EpsilonInsensitive(AbstractLoss):
    """Absolute residual beyond a tube, `max(|score - target| - epsilon, 0)`, that of support vector regression.

    Scores and targets have the same shape; `epsilon` has the unit of the targets. It has kinks and a `prox`: take a
    solver that splits the loss from the design (`ChambollePock`). Raises `ValueError` for a known negative `epsilon`.

    Drucker, Burges, Kaufman, Smola and Vapnik, "Support vector regression machines", 1997.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> losses.EpsilonInsensitive(0.5)(jnp.array([0.25, 2.0]), jnp.array([0.0, 0.0])).tolist()
        [0.0, 1.5]
    """

    epsilon: Scalar

    has_bounded_curvature: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = False

    def __init__(self, epsilon: ArrayLike = 0.1):
        require_nonnegative(epsilon, "epsilon")
        self.epsilon = _tree.setting(epsilon)

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        residual = score - _tree.match(target, score)
        return jax.nn.relu(jnp.abs(residual) - _tree.match(self.epsilon, score))

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(jnp.inf)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        residual = score - _tree.match(target, score)
        return jnp.where(jnp.abs(residual) > _tree.match(self.epsilon, score), jnp.sign(residual), 0)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        inside = jnp.abs(dual) <= 1 + slack(dual)
        return finite_where(inside, dual * _tree.match(target, dual) + _tree.match(self.epsilon, dual) * jnp.abs(dual))

    def prox(self, score: Float[Array, "..."], step: Array, target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        residual = score - _tree.match(target, score)
        excess = jax.nn.relu(jnp.abs(residual) - _tree.match(self.epsilon, score))
        return score - jnp.sign(residual) * jnp.minimum(excess, _tree.match(step, score))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_finite(targets, "EpsilonInsensitive")
