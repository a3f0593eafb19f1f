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


class Gamma(AbstractLoss):
    """Negative log-likelihood of positive targets under a log link, `score + target exp(-score)`, up to constants.

    Half the deviance of a gamma distribution of mean `exp(score)`, without its part in the targets alone. Scores and
    targets have the same shape. The second derivative `target exp(-score)` is unbounded, so that `curvature` is
    infinite and solvers must search for their step.

    McCullagh and Nelder, "Generalized linear models", 1989, chapter 8.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> float(losses.Gamma()(jnp.array(0.0), jnp.array(2.0)))
        2.0
    """

    has_bounded_curvature: ClassVar[bool] = False

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return score + _tree.match(target, score) * jnp.exp(-score)

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(jnp.inf)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return 1 - _tree.match(target, score) * jnp.exp(-score)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        ratio = 1 - dual
        inside = ratio >= -slack(dual) * (1 + jnp.abs(dual))
        return finite_where(inside, negative_entropy(ratio) - ratio * (1 + jnp.log(_tree.match(target, dual))))

    def balance_dual(
        self, dual: Float[Array, "n *k"], targets: Shaped[Array, "n *k"], weights: Float[Array, " n"]
    ) -> Float[Array, "n *k"]:
        """As for every loss: the ratios `1 - dual` are scaled to mean one."""
        ratio, weights = jax.nn.relu(1 - dual), rows_like(weights, dual)
        total = jnp.sum(weights * ratio, 0)
        factor = jnp.sum(weights, 0) / jnp.where(total > 0, total, 1)
        return jnp.where(total[None] > 0, 1 - ratio * factor[None], 0)

    def best_constant(
        self, targets: Shaped[Array, "n *k"], weights: Float[Array, " n"], num_outputs: int | None = None
    ) -> Float[Array, " *k"]:
        weights = rows_like(weights, targets)
        return jnp.log(jnp.sum(weights * targets.astype(weights.dtype), 0) / jnp.sum(weights, 0))

    def divergence(
        self, new: Float[Array, "..."], old: Float[Array, "..."], target: Shaped[Array, "..."]
    ) -> Float[Array, "..."]:
        change = new - old
        return _tree.match(target, new) * jnp.exp(-old) * (jnp.expm1(-change) + change)

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        known = concrete(targets)
        if known is not None and not np.all((known > 0) & np.isfinite(known)):
            raise ValueError("targets of Gamma must be positive; pass finite values > 0.")
