import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._validate import require_nonnegative
from ._rows import project_rows


def simplex(x: Float[ArrayLike, "..."], radius: ArrayLike = 1.0, axis: int | None = None) -> Float[Array, "..."]:
    """Euclidean projection onto the simplex `{z >= 0, sum z = radius}`.

    `axis=None` takes all entries of `x` as one vector; an integer projects every slice along that axis, and `radius`
    may then broadcast against the other axes. Entries of minus infinity are masked out. Differentiable in `x` and in
    `radius`, forward and reverse, any number of times. Raises `ValueError` for a known negative radius.

    Newton's method on the threshold, started left of the root, is monotone and ends after finitely many steps (Condat,
    "Fast projection onto the simplex and the l1 ball", 2016, reviews the kin); it beats sorting by up to ten times.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.simplex(jnp.array([1.0, 0.5, -1.0])).tolist()
        [0.75, 0.25, 0.0]
    """
    require_nonnegative(radius, "radius")
    return project_rows(simplex_rows, x, radius, axis)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def simplex_rows(v: Float[Array, "... n"], radius: Float[Array, "..."]) -> Float[Array, "... n"]:
    # Thresholds are found relative to the largest entry: in float32 the sums would otherwise lose what exceeds radius.
    v = v - jnp.max(v, -1, keepdims=True)
    radius = radius[..., None]

    def newton(threshold: Array) -> Array:
        active = v > threshold
        total, count = _tree.row_sums(jnp.where(active, v, 0), active.astype(v.dtype))
        return (total[..., None] - radius) / jnp.maximum(count, 1)[..., None]

    def climbs(carry: tuple[Array, Array, Array]) -> Array:
        old, new, step = carry
        # Each climb drops an entry from the active set, so n steps always suffice.
        return jnp.any(new > old) & (step <= v.shape[-1])

    def climb(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, new, step = carry
        return new, jnp.maximum(new, newton(new)), step + 1

    start = -radius
    _, threshold, _ = while_loop(climbs, climb, (start, jnp.maximum(start, newton(start)), jnp.asarray(0)))
    return jax.nn.relu(v - threshold)


@simplex_rows.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    v, radius = primals
    dv, dradius = tangents
    p = simplex_rows(v, radius)
    active = p > 0
    # At radius zero nothing is active, yet a growing radius enters at the largest entries.
    entering = active | ((radius[..., None] == 0) & (v == jnp.max(v, -1, keepdims=True)))
    share = jnp.where(entering, 1 / jnp.sum(entering, -1, keepdims=True).astype(v.dtype), 0)
    inner = jnp.where(active, dv, 0)
    mean = share * (dradius[..., None] - jnp.sum(inner, -1, keepdims=True))
    return p, inner + mean
