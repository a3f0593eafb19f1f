import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params
from .._validate import require_nonnegative


def l2_ball(x: Params, radius: ArrayLike = 1.0) -> Params:
    """Euclidean projection onto the ball `{|z|_2 <= radius}`, all entries of the array or pytree as one vector.

    Raises `ValueError` for a known negative radius.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.5.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.l2_ball(jnp.array([0.0, 4.0]), radius=2.0).tolist()
        [0.0, 2.0]
    """
    require_nonnegative(radius, "radius")
    x = _tree.as_inexact(x)
    norm = _tree.stable_norm(x)
    radius = jnp.asarray(radius).astype(norm.dtype)
    # Division first: radius / norm underflows where x / norm does not.
    outside = norm > radius
    divisor = jnp.where(outside, norm, 1)
    # At radius zero the origin is the whole set, and the projection constant.
    inside_factor = jnp.where(radius > 0, 1, 0).astype(norm.dtype)
    factor = jnp.where(outside, radius, inside_factor)
    return jax.tree.map(lambda a: a / divisor.astype(a.dtype) * factor.astype(a.dtype), x)
