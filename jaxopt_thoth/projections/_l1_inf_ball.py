import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._validate import require_nonnegative
from ._simplex import simplex_rows


def l1_inf_ball(x: Float[ArrayLike, "n m"], radius: ArrayLike = 1.0) -> Float[Array, "n m"]:
    """Euclidean projection onto the l1,inf ball `{sum_i max_j |z_ij| <= radius}`, which empties whole rows.

    Differentiable in `x` and `radius`, forward and reverse; at radius zero both derivatives are zero. Raises
    `ValueError` for a known negative radius and where `x` is not a matrix.

    Chau, Ohlsson, Wohlberg, "Efficient projection onto the l_inf,1 mixed-norm ball using a Newton root search method",
    2019: every row is clipped at a level that takes the same sum off each row kept, and that sum is the root of a
    convex decreasing function, which Newton's method reaches from the left in finitely many steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.l1_inf_ball(jnp.array([[3.0, -2.0], [0.25, 0.5]]), radius=2.0).tolist()
        [[2.0, -2.0], [0.0, 0.0]]
    """
    require_nonnegative(radius, "radius")
    array = _tree.as_inexact(x)
    if array.ndim != 2:
        raise ValueError(f"x must be a matrix, got shape {array.shape}; vmap over its leading axes.")
    if array.size == 0:
        return array
    magnitude = jnp.abs(array)
    bound = jnp.asarray(radius).astype(array.dtype)
    inside = jnp.sum(jnp.max(magnitude, 1)) < bound
    level = _levels(magnitude, bound)[:, None]
    clipped = jnp.where(magnitude > level, jnp.sign(array) * level, jnp.where(level > 0, array, 0))
    return jnp.where(inside, array, clipped)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def _levels(v: Float[Array, "n m"], radius: Float[Array, ""]) -> Float[Array, " n"]:
    """The level of every row, for nonnegative `v`."""
    peaks, sums = jnp.max(v, 1), jnp.sum(v, 1)

    def levels(taken: Array) -> Array:
        # What a row of norm `sums` sheds when its level takes `taken` off it.
        removed = jnp.max(simplex_rows(v, jnp.minimum(taken, sums)), 1)
        return jnp.where(taken < sums, jax.nn.relu(peaks - removed), 0)

    def newton(taken: Array) -> Array:
        level = levels(taken)
        counts = jnp.maximum(jnp.sum(v > level[:, None], 1), 1).astype(v.dtype)
        slope = jnp.sum(jnp.where(level > 0, 1 / counts, 0))
        return taken + (jnp.sum(level) - radius) / jnp.where(slope > 0, slope, jnp.inf)

    def climbs(carry: tuple[Array, Array, Array]) -> Array:
        old, new, step = carry
        return (new > old) & (step <= v.size)

    def climb(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, new, step = carry
        return new, jnp.maximum(new, newton(new)), step + 1

    start = jnp.zeros((), v.dtype)
    taken = while_loop(climbs, climb, (start, jnp.maximum(start, newton(start)), jnp.asarray(0)))[1]
    return jnp.where(radius > 0, levels(taken), 0)


@_levels.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (v, radius), (dv, dradius) = primals, tangents
    level = _levels(v, radius)
    kept = level > 0
    active = (v > level[:, None]) & kept[:, None]
    weights = jnp.where(kept, 1 / jnp.maximum(jnp.sum(active, 1), 1).astype(v.dtype), 0)
    means = weights * jnp.sum(jnp.where(active, dv, 0), 1)
    total = jnp.sum(weights)
    taken = (jnp.sum(means) - dradius) / jnp.where(total > 0, total, 1)
    return level, jnp.where(kept, means - weights * taken, 0)
