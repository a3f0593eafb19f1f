import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from ._base import AbstractLoss
from ._domain import finite_where, negative_entropy, require_signs, rows_like, slack


class Logistic(AbstractLoss):
    """Logistic loss `log(1 + exp(-target * score))` of targets -1 or +1.

    Scores and targets have the same shape. The conjugate is the negative entropy of `-target * dual` in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> print(f"{losses.Logistic()(jnp.array(0.0), jnp.array(1)):.4f}")
        0.6931
    """

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.softplus(-_tree.match(target, score) * score)

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(0.25)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        sign = _tree.match(target, score)
        return -sign * jax.nn.sigmoid(-sign * score)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        p = -_tree.match(target, dual) * dual
        inside = (p >= -slack(dual)) & (p <= 1 + slack(dual))
        return finite_where(inside, negative_entropy(p) + negative_entropy(1 - p))

    def best_constant(
        self, targets: Shaped[Array, "n *k"], weights: Float[Array, " n"], num_outputs: int | None = None
    ) -> Float[Array, " *k"]:
        weights = rows_like(weights, targets)
        positive, negative = (jnp.sum(jnp.where(side, weights, 0), 0) for side in (targets > 0, targets < 0))
        # A sign without rows would ask for infinity.
        floor = float(jnp.finfo(weights.dtype).eps) ** 2 * (positive + negative)
        return jnp.log(jnp.maximum(positive, floor)) - jnp.log(jnp.maximum(negative, floor))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_signs(targets, "Logistic")
