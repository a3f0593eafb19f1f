from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import concrete
from ._base import AbstractLoss
from ._domain import finite_where, negative_entropy, rows_like, slack


class Poisson(AbstractLoss):
    """Negative log-likelihood of counts under a log link, `exp(score) - target * score`, without its constant.

    Scores and targets have the same shape. The second derivative `exp(score)` is unbounded, so that `curvature` is
    infinite and solvers must search for their step.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> float(losses.Poisson()(jnp.array(0.0), jnp.array(2)))
        1.0
    """

    has_bounded_curvature: ClassVar[bool] = False

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(score) - _tree.match(target, score) * score

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(jnp.inf)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(score) - _tree.match(target, score)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        count = _tree.match(target, dual)
        rate = dual + count
        inside = rate >= -slack(dual) * (1 + jnp.abs(count))
        return finite_where(inside, negative_entropy(rate) - rate)

    def balance_dual(
        self, dual: Float[Array, "n *k"], targets: Shaped[Array, "n *k"], weights: Float[Array, " n"]
    ) -> Float[Array, "n *k"]:
        """As for every loss: the rates `dual + target` are scaled to the sum of the targets."""
        counts, weights = _tree.match(targets, dual), rows_like(weights, dual)
        rate = jax.nn.relu(dual + counts)
        total = jnp.sum(weights * rate, 0)
        factor = jnp.sum(weights * counts, 0) / jnp.where(total > 0, total, 1)
        # Where every rate is zero, the counts themselves are balanced.
        return jnp.where(total[None] > 0, rate * factor[None] - counts, 0)

    def best_constant(
        self, targets: Shaped[Array, "n *k"], weights: Float[Array, " n"], num_outputs: int | None = None
    ) -> Float[Array, " *k"]:
        weights = rows_like(weights, targets)
        mean = jnp.sum(weights * targets.astype(weights.dtype), 0) / jnp.sum(weights, 0)
        # Counts that are all zero would ask for minus infinity.
        return jnp.log(jnp.maximum(mean, float(jnp.finfo(weights.dtype).eps) ** 2))

    def divergence(
        self, new: Float[Array, "..."], old: Float[Array, "..."], target: Shaped[Array, "..."]
    ) -> Float[Array, "..."]:
        change = new - old
        return jnp.exp(old) * (jnp.expm1(change) - change)

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        known = concrete(targets)
        if known is not None and not np.all((known >= 0) & np.isfinite(known)):
            raise ValueError("targets of Poisson must be counts; pass finite values >= 0.")
