from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import require_ordered
from ..projections import box
from ._base import AbstractPenalty
from ._parts import every, indicator, slack, total


class Box(AbstractPenalty):
    """Indicator of the box `{lower <= x <= upper}`, on any pytree.

    Bounds are scalars or arrays that broadcast to the shape of each leaf, and may be infinite. Raises `ValueError`
    where known bounds cross; `is_feasible` tells it of traced ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Box(0.0, 1.0).prox(jnp.array([-1.0, 0.5, 2.0]), step=1.0).tolist()
        [0.0, 0.5, 1.0]
    """

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]

    is_separable: ClassVar[bool] = True
    is_indicator: ClassVar[bool] = True

    def __init__(self, lower: ArrayLike, upper: ArrayLike):
        require_ordered(lower, upper)
        self.lower = _tree.setting(lower)
        self.upper = _tree.setting(upper)

    def value(self, x: Params) -> Scalar:
        def entry(a: Array) -> Array:
            room = slack(a, jnp.maximum(1, jnp.abs(a)))
            return (a >= _tree.match(self.lower, a) - room) & (a <= _tree.match(self.upper, a) + room)

        return indicator(every(entry, x), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return jax.tree.map(lambda a: box(a, self.lower, self.upper), x)

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            lower, upper = _tree.match(self.lower, u), _tree.match(self.upper, u)
            # Selected before the product: 0, up to rounding, times an infinite bound is 0 here.
            bound = jnp.where(u > 0, upper, lower)
            return jnp.where(jnp.isinf(bound) & (jnp.abs(u) <= slack(u)), 0, bound) * u

        return total(entry, dual)

    def dual_scale(self, dual: Params) -> Scalar:
        return jnp.where(jnp.isfinite(self.conjugate(dual)), 1, 0).astype(_tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        def entry(a: Array, g: Array) -> Array:
            kept = jnp.where(a <= _tree.match(self.lower, a), jnp.minimum(g, 0), g)
            return jnp.where(a >= _tree.match(self.upper, a), jnp.maximum(kept, 0), kept)

        return jax.tree.map(entry, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: (a > _tree.match(self.lower, a)) & (a < _tree.match(self.upper, a)), x)

    def is_feasible(self) -> BoolScalar:
        lower, upper = jnp.broadcast_arrays(self.lower, self.upper)
        return jnp.all(lower <= upper.astype(lower.dtype))
