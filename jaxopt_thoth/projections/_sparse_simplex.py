import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative
from ._simplex import simplex
from ._top_k import largest


def sparse_simplex(x: Float[ArrayLike, "..."], k: int, radius: ArrayLike = 1.0) -> Float[Array, "..."]:
    """Nearest point of `{z >= 0, sum z = radius, at most k entries are not zero}`.

    The set is not convex; of tied entries the first are kept. All entries of `x` are one vector. Kyrillidis et al.,
    "Sparse projections onto the simplex", 2013: the simplex projection of the `k` largest entries is exact. Raises
    `ValueError` for `k` below one and for a known negative radius.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.sparse_simplex(jnp.array([0.5, 0.25, 0.25, 0.0]), 2).tolist()
        [0.625, 0.375, 0.0, 0.0]
    """
    if k < 1:
        raise ValueError(f"k must be positive, got {k}; pass a value >= 1.")
    require_nonnegative(radius, "radius")
    array = _tree.as_inexact(x)
    return simplex(jnp.where(largest(array, k), array, -jnp.inf), radius)
