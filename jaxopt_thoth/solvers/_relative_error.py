import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar


def relative_error(residual: Params, gradient: Params, least: Scalar) -> tuple[Scalar, Scalar]:
    """Norm of a residual relative to `max(1, g)`, g the least norm of a gradient so far, which comes second.

    NaN where either is not finite: an infinite residual over an infinite gradient certifies nothing.
    """
    finite = _tree.all_finite(gradient) & _tree.all_finite(residual)
    norm = jnp.where(finite, jnp.minimum(least, _tree.norm(gradient)), least)
    error = _tree.norm(residual) / jnp.maximum(1, jnp.where(jnp.isfinite(norm), norm, 1))
    return jnp.where(finite, error, jnp.nan), norm
