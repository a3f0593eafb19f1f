import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from .. import _tree
from .._validate import concrete


def negative_entropy(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """`p log p`, with 0 log 0 = 0 and derivative zero (not NaN) for `p <= 0`."""
    positive = p > 0
    return jnp.where(positive, p * jnp.log(jnp.where(positive, p, 1)), 0)


def finite_where(inside: Bool[Array, "..."], value: Float[Array, "..."]) -> Float[Array, "..."]:
    """`value` inside the domain of a conjugate, infinity outside."""
    return jnp.where(inside, value, jnp.inf)


def slack(x: Float[Array, "..."]) -> float:
    """How far rounding may push a dual variable of order one out of its domain."""
    return 16 * float(jnp.finfo(x.dtype).eps)


def require_signs(targets: Shaped[Array, "..."], loss: str) -> None:
    known = concrete(targets)
    if known is not None and not np.all((known == 1) | (known == -1)):
        raise ValueError(f"targets of {loss} must be -1 or +1; map labels with `jnp.where(labels == positive, 1, -1)`.")


def require_finite(targets: Shaped[Array, "..."], loss: str) -> None:
    known = concrete(targets)
    if known is not None and not np.all(np.isfinite(known)):
        raise ValueError(f"targets of {loss} must be finite; drop or fill the missing rows.")


def rows_like(weights: Float[Array, " n"], x: Shaped[Array, "n *k"]) -> Array:
    """Weights of rows spread over what each row holds."""
    return jnp.broadcast_to(_tree.along_rows(weights, x), x.shape)
