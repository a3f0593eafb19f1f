from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..penalties import AbstractPenalty
from ._base import AbstractMirrorMap


class Euclidean(AbstractMirrorMap):
    """Half the squared norm, on any pytree: the mirror step is the gradient step, and `prox` is that of the penalty.

    Its modulus is 1 in the Euclidean norm.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> print(mirror.Euclidean().step(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), 0.5))
        [0.5 2. ]
    """

    domain: ClassVar[str] = "all vectors"

    def potential(self, x: Params) -> Scalar:
        return _tree.squared_norm(x) / 2

    def to_dual(self, x: Params) -> Params:
        return x

    def from_dual(self, dual: Params) -> Params:
        return dual

    def conjugate(self, dual: Params) -> Scalar:
        return self.potential(dual)

    def divergence(self, x: Params, y: Params) -> Scalar:
        return self.potential(_tree.sub(x, y))

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params:
        return penalty.prox(dual, step)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.ones((), _tree.dtype_of(like))
