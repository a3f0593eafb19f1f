import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._epigraph_linf import pair
from ._second_order_cone import second_order_cone


def epigraph_l2(x: Float[ArrayLike, "..."], t: ArrayLike) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Euclidean projection of the pair `(x, t)` onto the epigraph of the Euclidean norm, `{(z, s): |z|_2 <= s}`.

    All entries of `x` are one vector, and `t` is a scalar; the pair `(z, s)` is returned. It is `second_order_cone` for
    an array of any shape. Raises `ValueError` for a `t` that is not a scalar.

    Boyd and Vandenberghe, "Convex Optimization", 2004, exercise 8.3(c).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> z, s = projections.epigraph_l2(jnp.array([0.0, 3.0]), 1.0)
        >>> z.tolist(), s.item()
        ([0.0, 2.0], 2.0)
    """
    array, level = pair(x, t)
    projected = second_order_cone(jnp.concatenate([level[None], array.reshape(-1)]))
    return projected[1:].reshape(array.shape), projected[0]
