import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ..projections import simplex
from ._base import AbstractPenalty
from ._parts import indicator, slack


class Max(AbstractPenalty):
    """Largest entry of one array times the strength, `strength * max x`.

    The prox lowers the largest entries to a common level; the conjugate is the indicator of the simplex of radius
    `strength`, which no scaling need reach: `dual_scale` is 1. Raises `ValueError` for a known negative strength and,
    in `value`, for an array without entries.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.4.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Max(1.0).prox(jnp.array([3.0, -5.0]), step=1.0).tolist()
        [2.0, -5.0]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, "..."]) -> Scalar:
        return _tree.match(self.strength, x) * jnp.max(x)

    def prox(self, x: Float[Array, "..."], step: ArrayLike) -> Float[Array, "..."]:
        return x - simplex(x, _tree.match(self.strength, x) * _tree.match(step, x))

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        strength = _tree.match(self.strength, dual)
        scale = jnp.maximum(1, strength)
        closed = jnp.abs(jnp.sum(dual) - strength) <= slack(dual, scale)
        return indicator(closed & jnp.all(dual >= -slack(dual, scale)), dual)

    def minimal_subgradient(self, x: Float[Array, "..."], gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        # The prox ties entries up to rounding only.
        top = x >= jnp.max(x) - slack(x, jnp.max(jnp.abs(x)))
        pull = jnp.where(top, -gradient, -jnp.inf)
        return gradient + jnp.where(top, simplex(pull, _tree.match(self.strength, x)), 0)

    def support(self, x: Float[Array, "..."]) -> Array:
        return jnp.ones(x.shape, bool)
