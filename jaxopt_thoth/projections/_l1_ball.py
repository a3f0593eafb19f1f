import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._rows import project_rows
from ._simplex import simplex_rows


def l1_ball(x: Float[ArrayLike, "..."], radius: ArrayLike = 1.0, axis: int | None = None) -> Float[Array, "..."]:
    """Euclidean projection onto the l1 ball `{sum |z| <= radius}`.

    `axis=None` takes all entries of `x` as one vector; an integer projects every slice along that axis, and `radius`
    may then broadcast against the other axes. Raises `ValueError` for a known negative radius.

    Duchi et al., "Efficient projections onto the l1-ball for learning in high dimensions", 2008: outside the ball it is
    the simplex projection of the absolute values, with the signs put back.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.l1_ball(jnp.array([2.0, -1.5, 0.0])).tolist()
        [0.75, -0.25, 0.0]
    """
    require_nonnegative(radius, "radius")
    return project_rows(l1_ball_rows, x, radius, axis)


def l1_ball_rows(v: Float[Array, "... n"], radius: Float[Array, "..."]) -> Float[Array, "... n"]:
    magnitude = jnp.abs(v)
    inside = jnp.sum(magnitude, -1) < radius
    return jnp.where(inside[..., None], v, jnp.sign(v) * simplex_rows(magnitude, radius))
