import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_ordered
from ._hyperparameter_map import AbstractHyperparameterMap, require_inside


class Interval(AbstractHyperparameterMap):
    """Hyper-parameters between two bounds: `lower + (upper - lower) sigmoid(raw)`.

    Args:
        lower: bound that is approached far below zero.
        upper: bound that is approached far above zero.
        discrete: round down to an integer, of which the derivative is zero.

    Raises:
        ValueError: if `lower` exceeds `upper`; from `inverse`, if a value is outside of the open interval.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> print(bilevel.Interval(1.0, 3.0)(jnp.zeros(2)))
        [2. 2.]
    """

    lower: Scalar
    upper: Scalar
    discrete: bool = eqx.field(static=True)

    def __init__(self, lower: ArrayLike, upper: ArrayLike, *, discrete: bool = False):
        require_ordered(lower, upper)
        self.lower, self.upper, self.discrete = _tree.setting(lower), _tree.setting(upper), discrete

    def __call__(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        lower, upper = _tree.match(self.lower, raw), _tree.match(self.upper, raw)
        value = lower + (upper - lower) * jax.nn.sigmoid(raw)
        return jnp.floor(value) if self.discrete else value

    def inverse(self, value: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        value = _tree.setting(value)
        lower, upper = _tree.match(self.lower, value), _tree.match(self.upper, value)
        require_inside(value, lower, upper)
        return jnp.log(value - lower) - jnp.log(upper - value)
