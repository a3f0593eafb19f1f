from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..projections import nonnegative
from ._base import AbstractPenalty
from ._parts import every, indicator, slack


class NonNegative(AbstractPenalty):
    """Indicator of the nonnegative orthant `{x >= 0}`, on any pytree.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.NonNegative().prox(jnp.array([1.0, -2.0]), step=1.0).tolist()
        [1.0, 0.0]
    """

    is_separable: ClassVar[bool] = True
    is_indicator: ClassVar[bool] = True

    def value(self, x: Params) -> Scalar:
        return indicator(every(lambda a: a >= -slack(a), x), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return jax.tree.map(nonnegative, x)

    def conjugate(self, dual: Params) -> Scalar:
        return indicator(every(lambda u: u <= slack(u), dual), dual)

    def dual_scale(self, dual: Params) -> Scalar:
        return jnp.where(every(lambda u: u <= slack(u), dual), 1, 0).astype(_tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return jax.tree.map(lambda a, g: jnp.where(a > 0, g, jnp.minimum(g, 0)), x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a > 0, x)
