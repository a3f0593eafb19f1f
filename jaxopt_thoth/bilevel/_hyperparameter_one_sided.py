import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from ._hyperparameter_map import AbstractHyperparameterMap, require_inside


class OneSided(AbstractHyperparameterMap):
    """Hyper-parameters above a bound: `lower + softplus(raw)`.

    Args:
        lower: bound that is approached far below zero.

    Raises:
        ValueError: from `inverse`, if a value is not above the bound.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> positive = bilevel.OneSided()
        >>> print(positive(positive.inverse(jnp.array([0.5, 2.0]))))
        [0.5 2. ]
    """

    lower: Scalar

    def __init__(self, lower: ArrayLike = 0.0):
        self.lower = _tree.setting(lower)

    def __call__(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        return _tree.match(self.lower, raw) + jax.nn.softplus(raw)

    def inverse(self, value: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        value = _tree.setting(value)
        lower = _tree.match(self.lower, value)
        require_inside(value, lower, jnp.asarray(jnp.inf, value.dtype))
        return softplus_inverse(value - lower)


def softplus_inverse(value: Array) -> Array:
    """`log(exp(value) - 1)`, which overflows nowhere."""
    return value + jnp.log(-jnp.expm1(-value))
