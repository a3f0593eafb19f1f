import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def hyperplane(x: Float[ArrayLike, "..."], normal: Float[ArrayLike, "..."], offset: ArrayLike) -> Float[Array, "..."]:
    """Euclidean projection onto the hyperplane `{<normal, z> = offset}`.

    `normal` broadcasts to the shape of `x`; `offset` is a scalar. A zero normal leaves `x` as it is.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.hyperplane(jnp.array([1.0, 3.0]), jnp.array([0.0, 2.0]), 4.0).tolist()
        [1.0, 2.0]
    """
    array = _tree.as_inexact(x)
    unit, excess = signed_distance(array, normal, offset)
    return array - excess * unit


def signed_distance(x: Array, normal: ArrayLike, offset: ArrayLike) -> tuple[Array, Array]:
    """Unit normal in the shape of `x`, and how far `x` lies beyond the hyperplane along it (zero for a zero normal)."""
    direction = jnp.broadcast_to(_tree.match(normal, x), x.shape)
    norm = _tree.stable_norm(direction)
    length = jnp.where(norm > 0, norm, 1)
    unit = direction / length
    excess = jnp.vdot(unit, x, precision=jax.lax.Precision.HIGHEST) - jnp.asarray(offset).astype(x.dtype) / length
    return unit, jnp.where(norm > 0, excess, 0)
