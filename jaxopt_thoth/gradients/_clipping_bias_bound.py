import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative
from ._clipping_floor import clipping_floor


def clipping_bias_bound(mean_norm: ArrayLike, sigma: ArrayLike, max_norm: ArrayLike) -> Float[Array, "..."]:
    """Bound on how far clipping moves the mean of a random gradient, `|E h - E clip(h)|`, in any dimension.

    It is the least upper bound on E (|h| - c)_+ that the second moment S^2 = |E h|^2 + sigma^2 allows: S^2 / (4c) where
    S <= 2c, and S - c beyond.

    Args:
        mean_norm: |E h|.
        sigma: square root of E |h - E h|^2.
        max_norm: c. All are scalars, or arrays of one shape.

    Raises:
        ValueError: where an argument is known to be negative.

    Example:
        >>> from jaxopt_thoth import gradients
        >>> gradients.clipping_bias_bound(3.0, sigma=4.0, max_norm=6.25).item()
        1.0
    """
    require_nonnegative(mean_norm, "mean_norm")
    require_nonnegative(sigma, "sigma")
    require_nonnegative(max_norm, "max_norm")
    mean = _tree.setting(mean_norm)
    return clipping_floor(_tree.safe_sqrt(mean**2 + jnp.asarray(sigma).astype(mean.dtype) ** 2), max_norm)
