import jax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._hyperplane import signed_distance


def halfspace(x: Float[ArrayLike, "..."], normal: Float[ArrayLike, "..."], offset: ArrayLike) -> Float[Array, "..."]:
    """Euclidean projection onto the half-space `{<normal, z> <= offset}`.

    `normal` broadcasts to the shape of `x`; `offset` is a scalar. A zero normal leaves `x` as it is.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.halfspace(jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]), 1.5).tolist()
        [1.0, 1.5]
    """
    array = _tree.as_inexact(x)
    unit, excess = signed_distance(array, normal, offset)
    return array - jax.nn.relu(excess) * unit
