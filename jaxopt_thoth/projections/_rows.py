from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def project_rows(
    project: Callable[[Array, Array], Array], x: Float[ArrayLike, "..."], radius: ArrayLike, axis: int | None
) -> Array:
    """Apply `project(vectors (..., n), radii (...))` to all of `x` (`axis=None`) or to every slice along `axis`."""
    array = _tree.as_inexact(x)
    rows = array.reshape(-1) if axis is None else jnp.moveaxis(array, axis, -1)
    if rows.shape[-1] == 0:
        return array
    radii = jnp.broadcast_to(jnp.asarray(radius).astype(array.dtype), rows.shape[:-1])
    projected = project(rows, radii)
    return projected.reshape(array.shape) if axis is None else jnp.moveaxis(projected, -1, axis)
