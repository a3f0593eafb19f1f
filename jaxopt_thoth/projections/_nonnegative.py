import jax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def nonnegative(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Euclidean projection onto the nonnegative orthant `{z >= 0}`.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.nonnegative(jnp.array([-1.0, 0.5])).tolist()
        [0.0, 0.5]
    """
    return jax.nn.relu(_tree.as_inexact(x))
