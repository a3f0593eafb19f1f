from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .._types import Scalar
from ._domain import rows_like


# A bracket of targets of any size is down to the rounding of a double.
_HALVINGS = 80


class AbstractLoss(eqx.Module):
    """A pointwise convex loss of a score against a target, the building block of `LinearModel`.

    Scores and targets have one leading axis of rows; a loss of several scores a row (`Multinomial`) says so.
    Every method works elementwise over rows and never averages: the mean over rows belongs to the smooth term.

    Attributes:
        has_bounded_curvature: whether `curvature` is finite, so that a Lipschitz constant of the gradient exists.
        is_quadratic: whether the second derivative is constant, so that a Gram matrix replaces the data.
        is_smooth: whether the derivative is continuous; a loss with kinks has a `prox` instead.
    """

    has_bounded_curvature: ClassVar[bool] = True
    is_quadratic: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = True

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Loss of each row."""
        raise NotImplementedError

    @property
    def curvature(self) -> Scalar:
        """Least upper bound of the second derivative in the score (of the Hessian, for several scores)."""
        raise NotImplementedError

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Fenchel conjugate in the score, `sup_z dual*z - loss(z, target)`; infinite outside its domain."""
        raise NotImplementedError

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Derivative in the score of each row, of the shape of `score`."""
        return jax.grad(lambda z: jnp.sum(self(z, target)))(score)

    def divergence(
        self, new: Float[Array, "..."], old: Float[Array, "..."], target: Shaped[Array, "..."]
    ) -> Float[Array, "..."]:
        """Bregman divergence of each row, `loss(new) - loss(old) - derivative(old) * (new - old)`."""
        linear = self.derivative(old, target) * (new - old)
        linear = linear.reshape((*linear.shape[: self(old, target).ndim], -1)).sum(-1)
        return self(new, target) - self(old, target) - linear

    def fenchel_young(
        self, score: Float[Array, "..."], dual: Float[Array, "..."], target: Shaped[Array, "..."]
    ) -> Float[Array, "..."]:
        """Slack of the Fenchel-Young inequality of each row, `loss(score) + conjugate(dual) - dual * score >= 0`."""
        losses = self(score, target)
        product = (dual * score).reshape((*losses.shape, -1)).sum(-1)
        return losses + self.conjugate(dual, target) - product

    def balance_dual(
        self, dual: Float[Array, "n *k"], targets: Shaped[Array, "n *k"], weights: Float[Array, " n"]
    ) -> Float[Array, "n *k"]:
        """Dual values in the domain of the conjugate whose weighted sum over rows vanishes, for each column.

        An intercept asks for it. What is balanced already is returned, up to rounding. By default the values of the
        sign that prevails are shrunk, which suits every domain that is an interval around zero.
        """
        weights = rows_like(weights, dual)
        above = jnp.sum(weights * jax.nn.relu(dual), 0)
        below = jnp.sum(weights * jax.nn.relu(-dual), 0)
        least = jnp.minimum(above, below)
        shrink = lambda total: jnp.where(total > least, least / jnp.where(total > 0, total, 1), 1)
        return dual * jnp.where(dual > 0, shrink(above)[None], shrink(below)[None])

    def best_constant(
        self, targets: Shaped[Array, "n *k"], weights: Float[Array, " n"], num_outputs: int | None = None
    ) -> Float[Array, " *k"]:
        """The constant score of least weighted loss, for each column: where an intercept starts.

        By bisection of the derivative, between the least and the largest target, one further to each side.

        Args:
            targets: (n,) or (n, k).
            weights: of the rows, (n,), nonnegative.
            num_outputs: number of scores a row, which only `Multinomial` cannot tell from the targets.
        """
        targets = targets.astype(weights.dtype)
        weights = rows_like(weights, targets)

        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = low + (high - low) / 2
            slope = jnp.sum(weights * self.derivative(jnp.broadcast_to(middle, targets.shape), targets), 0)
            return jnp.where(slope < 0, middle, low), jnp.where(slope < 0, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.min(targets, 0) - 1, jnp.max(targets, 0) + 1))
        return low + (high - low) / 2

    def prox(self, score: Float[Array, "..."], step: Array, target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Proximal operator of each row, `argmin_z loss(z, target) + (z - score)^2 / (2 step)`."""
        raise NotImplementedError(f"{type(self).__name__} has no closed-form prox.")

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        """Raise `ValueError` when known targets are outside what the loss accepts (labels, signs)."""
