import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_ordered


def box(x: Float[ArrayLike, "..."], lower: ArrayLike, upper: ArrayLike) -> Float[Array, "..."]:
    """Euclidean projection onto the box `{lower <= z <= upper}`.

    Bounds are scalars or broadcast to the shape of `x`, and may be infinite. At a bound the derivative is that of the
    inside (one in `x`, zero in the bound), unless both bounds meet. Raises `ValueError` where known bounds cross.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.box(jnp.array([-1.0, 0.5, 7.0]), 0.0, jnp.inf).tolist()
        [0.0, 0.5, 7.0]
    """
    require_ordered(lower, upper)
    array = _tree.as_inexact(x)
    low, high = _tree.match(lower, array), _tree.match(upper, array)
    # `jnp.clip` would split the derivative at ties.
    return jnp.where(array > high, high, jnp.where((array < low) | (low == high), low, array))
