from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import require_ordered
from ..projections import box
from . import _oracles
from ._entrywise import AbstractEntrywise
from ._parts import every, indicator, slack, total


class Box(AbstractEntrywise):
    """Indicator of the box `{lower <= x <= upper}`, on any pytree.

    Bounds are settings as in `AbstractPenalty`, and may be infinite. Raises `ValueError` where known bounds cross;
    `is_feasible` tells it of traced ones.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Box(0.0, 1.0).prox(jnp.array([-1.0, 0.5, 2.0]), step=1.0).tolist()
        [0.0, 0.5, 1.0]
    """

    lower: Float[Array, "..."] | Params
    upper: Float[Array, "..."] | Params

    is_indicator: ClassVar[bool] = True

    def __init__(self, lower: ArrayLike | Params, upper: ArrayLike | Params):
        jax.tree.map(require_ordered, *_tree.align(lower, upper, "lower and upper"))
        self.lower = _tree.settings(lower)
        self.upper = _tree.settings(upper)

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

    def linear_minimizer(self, gradient: Params) -> Params:
        return jax.tree.map(lambda g: _oracles.box(g, self.lower, self.upper), gradient)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        def entry(a: Array, g: Array) -> Array:
            kept = jnp.where(a <= _tree.match(self.lower, a), jnp.minimum(g, 0), g)
            return jnp.where(a >= _tree.match(self.upper, a), jnp.maximum(kept, 0), kept)

        return jax.tree.map(entry, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: (a > _tree.match(self.lower, a)) & (a < _tree.match(self.upper, a)), x)

    def is_feasible(self) -> BoolScalar:
        def entry(lower: Array, upper: Array) -> Array:
            lower, upper = jnp.broadcast_arrays(lower, upper)
            return lower <= upper.astype(lower.dtype)

        return every(entry, *_tree.align(self.lower, self.upper))
