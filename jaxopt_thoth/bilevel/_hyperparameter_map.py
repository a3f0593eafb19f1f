import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._validate import concrete


class AbstractHyperparameterMap(eqx.Module):
    """A map from the real line, where hyper-parameters are tuned, onto the values that they may take."""

    def __call__(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value of the hyper-parameter, entry by entry."""
        raise NotImplementedError

    def inverse(self, value: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Point of the real line that is mapped to `value`."""
        raise NotImplementedError


def require_inside(value: Array, lower: Array, upper: Array) -> None:
    inside = concrete((jnp.broadcast_to(lower, value.shape) < value) & (value < jnp.broadcast_to(upper, value.shape)))
    if inside is not None and not inside.all():
        raise ValueError(f"value must lie strictly between {lower} and {upper}, got {value}; move it inside.")
