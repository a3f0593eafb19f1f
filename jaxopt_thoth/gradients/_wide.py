"""Half precision is not for sums: what accumulates is float32 at least."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike


def wide_dtype(dtype: Any) -> Any:
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def wide(leaf: ArrayLike) -> Array:
    """The array in float32 at least; integers are left alone."""
    array = jnp.asarray(leaf)
    return array.astype(wide_dtype(array.dtype)) if jnp.issubdtype(array.dtype, jnp.inexact) else array
