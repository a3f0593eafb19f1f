from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .._types import Scalar


class AbstractLoss(eqx.Module):
    """A pointwise convex loss of a score against a target, the building block of `LinearModel`.

    Scores and targets have one leading axis of rows; a loss of several scores a row (`Multinomial`) says so.
    Every method works elementwise over rows and never averages: the mean over rows belongs to the smooth term.

    Attributes:
        has_bounded_curvature: whether `curvature` is finite, so that a Lipschitz constant of the gradient exists.
        is_quadratic: whether the second derivative is constant, so that a Gram matrix replaces the data.
    """

    has_bounded_curvature: ClassVar[bool] = True
    is_quadratic: ClassVar[bool] = False

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

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        """Raise `ValueError` when known targets are outside what the loss accepts (labels, signs)."""
