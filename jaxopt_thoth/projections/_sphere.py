import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative


def sphere(x: Float[ArrayLike, "..."], radius: ArrayLike = 1.0) -> Float[Array, "..."]:
    """Nearest point of the sphere `{|z|_2 = radius}`, all entries of `x` as one vector.

    The set is not convex: at the origin every point is nearest, and the first axis is returned, with derivative zero in
    `x`. Raises `ValueError` for a known negative radius.

    Absil and Malick, "Projection-like retractions on matrix manifolds", 2012.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.sphere(jnp.array([0.0, 0.5]), radius=2.0).tolist()
        [0.0, 2.0]
    """
    require_nonnegative(radius, "radius")
    array = _tree.as_inexact(x)
    if array.size == 0:
        return array
    norm = _tree.stable_norm(array)
    axis = jnp.zeros(array.size, array.dtype).at[0].set(1).reshape(array.shape)
    unit = jnp.where(norm > 0, array / jnp.where(norm > 0, norm, 1), axis)
    return unit * jnp.asarray(radius).astype(array.dtype)
