from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar
from ..penalties import AbstractPenalty, GroupLasso, NonNegative


class NonNegativeRows(AbstractPenalty):
    """Sum of the Euclidean norms of the rows of a matrix on the nonnegative orthant.

    The norms do not see signs and shrinking keeps them: the proximal operator is that of the norms after that of the
    orthant.
    """

    norms: GroupLasso

    is_separable: ClassVar[bool] = False

    def __init__(self, strength: ArrayLike, num_rows: int):
        self.norms = GroupLasso(strength, jnp.arange(num_rows), num_groups=num_rows)

    def value(self, x: Float[Array, "M N"]) -> Scalar:
        return self.norms.value(x) + NonNegative().value(x)

    def prox(self, x: Float[Array, "M N"], step: ArrayLike) -> Float[Array, "M N"]:
        return self.norms.prox(NonNegative().prox(x, step), step)
