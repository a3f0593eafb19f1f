from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ._base import AbstractPenalty
from ._parts import every, indicator, slack


class Zero(AbstractPenalty):
    """No penalty, g = 0, on any pytree.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Zero().prox(jnp.array([1.0, -2.0]), 0.5).tolist()
        [1.0, -2.0]
    """

    is_separable: ClassVar[bool] = True

    def value(self, x: Params) -> Scalar:
        return jnp.zeros((), _tree.dtype_of(x))

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return x

    def conjugate(self, dual: Params) -> Scalar:
        return indicator(every(lambda u: jnp.abs(u) <= slack(u), dual), dual)

    def dual_scale(self, dual: Params) -> Scalar:
        return jnp.where(every(lambda u: jnp.abs(u) <= slack(u), dual), 1, 0).astype(_tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return gradient

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: jnp.ones(a.shape, bool), x)
