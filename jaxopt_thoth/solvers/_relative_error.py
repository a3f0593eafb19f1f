import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar


def relative_error(residual: Params, gradient: Params, least: Scalar) -> tuple[Scalar, Scalar]:
    """Norm of a residual relative to `max(1, g)`, g the least norm of a gradient so far, which comes second.

    NaN where either is not finite, for the norm of what is not a number may pass for zero.
    """
    finite = _tree.all_finite(gradient) & _tree.all_finite(residual)
    norm = jnp.where(finite, jnp.minimum(least, _tree.norm(gradient)), least)
    error = _tree.norm(residual) / jnp.maximum(1, jnp.where(jnp.isfinite(norm), norm, 1))
    return jnp.where(finite, error, jnp.nan), norm
