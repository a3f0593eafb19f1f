import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar
from ..penalties import AbstractPenalty


class ByColumn(AbstractPenalty):
    """The sum of a penalty of vectors over the columns of a matrix (p, k)."""

    penalty: AbstractPenalty

    @property
    def is_separable(self) -> bool:  # type: ignore[override]
        return self.penalty.is_separable

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        return self.penalty.is_convex

    @property
    def is_indicator(self) -> bool:  # type: ignore[override]
        return self.penalty.is_indicator

    def value(self, x: Float[Array, "p k"]) -> Scalar:
        return jnp.sum(jax.vmap(self.penalty.value, 1)(x))

    def prox(self, x: Float[Array, "p k"], step: ArrayLike) -> Float[Array, "p k"]:
        return jax.vmap(lambda column: self.penalty.prox(column, step), 1, 1)(x)

    def conjugate(self, dual: Float[Array, "p k"]) -> Scalar:
        return jnp.sum(jax.vmap(self.penalty.conjugate, 1)(dual))

    def dual_scale(self, dual: Float[Array, "p k"]) -> Scalar:
        return jnp.min(jax.vmap(self.penalty.dual_scale, 1)(dual))
