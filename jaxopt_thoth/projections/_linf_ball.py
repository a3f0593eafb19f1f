import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative


def linf_ball(x: Float[ArrayLike, "..."], radius: ArrayLike = 1.0) -> Float[Array, "..."]:
    """Euclidean projection onto the ball `{max |z| <= radius}`, entry by entry.

    `radius` may be an array that broadcasts to the shape of `x`. On the boundary the derivative is that of the inside;
    at radius zero it is zero. Raises `ValueError` for a known negative radius.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2: it is a box.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.linf_ball(jnp.array([0.5, -4.0])).tolist()
        [0.5, -1.0]
    """
    require_nonnegative(radius, "radius")
    array = _tree.as_inexact(x)
    bound = _tree.match(radius, array)
    # `jnp.clip` would split the derivative at ties.
    inside = jnp.where(bound > 0, array, 0)
    return jnp.where(array > bound, bound, jnp.where(array < -bound, -bound, inside))
