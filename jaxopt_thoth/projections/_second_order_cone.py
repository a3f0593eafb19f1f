import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree


def second_order_cone(x: Float[ArrayLike, " n"]) -> Float[Array, " n"]:
    """Euclidean projection onto the second-order cone `{(t, u): |u|_2 <= t}`, the bound `t` being the first entry.

    That is the packing of SCS and of ProximalOperators.jl. Formula: Boyd and Vandenberghe, "Convex Optimization",
    2004, exercise 8.3(c).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.second_order_cone(jnp.array([1.0, 0.0, 3.0])).tolist()
        [2.0, 0.0, 2.0]
    """
    array = _tree.as_inexact(x)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"x must be one vector (t, u...), got shape {array.shape}; vmap over its leading axes.")
    t, u = array[0], array[1:]
    norm = _tree.stable_norm(u) if u.size else jnp.zeros((), array.dtype)
    between = (norm > t) & (norm > -t)
    divisor = jnp.where(between, norm, 1)
    mean = t / 2 + norm / 2
    # Divided first: mean / norm times u would overflow where u / norm does not.
    edge = jnp.concatenate([mean[None], u / divisor * mean])
    return jnp.where(between, edge, jnp.where(norm <= t, array, 0))
