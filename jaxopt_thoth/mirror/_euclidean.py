from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from ._base import AbstractMirrorMap


class Euclidean(AbstractMirrorMap):
    """Half the squared norm: the mirror step is the gradient step.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> print(mirror.Euclidean().step(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), 0.5))
        [0.5 2. ]
    """

    domain: ClassVar[str] = "all vectors"

    def potential(self, x: Float[Array, "..."]) -> Scalar:
        return jnp.sum(x * x) / 2

    def to_dual(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return x

    def from_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        return dual

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        return self.potential(x - y)

    def project(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return y
