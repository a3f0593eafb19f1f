import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import concrete, require_nonnegative
from ._box_hyperplane import box_hyperplane_rows


def capped_simplex(
    x: Float[ArrayLike, "..."], total: ArrayLike, upper: ArrayLike = 1.0, axis: int | None = None
) -> Float[Array, "..."]:
    """Euclidean projection onto the capped simplex `{0 <= z <= upper, sum z = total}`.

    `axis=None` takes all entries of `x` as one vector; an integer projects every slice along that axis, and `total` may
    then broadcast against the other axes. `upper` is a scalar or broadcasts to the shape of `x`, and may be infinite.
    Entries of minus infinity are masked out. Differentiable in `x`, `total` and `upper`, forward and reverse; at a
    vertex, where every entry is zero or at its cap, the derivatives in `x` and `total` are zero, though the entries
    cannot but move with the total. Raises `ValueError` for a known total that the caps cannot reach.

    Wang and Lu, "Projection onto the capped simplex", 2015; here by Newton's method on the threshold inside a bracket,
    which costs no sort.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.capped_simplex(jnp.array([3.0, 0.5, 0.25, -1.0]), 1.5).tolist()
        [1.0, 0.375, 0.125, 0.0]
    """
    require_nonnegative(total, "total")
    require_nonnegative(upper, "upper")
    array = _tree.as_inexact(x)
    known_total, known_upper = concrete(total), concrete(upper)
    if known_total is not None and known_upper is not None:
        most = np.broadcast_to(known_upper, array.shape).astype(float).sum(axis)
        # What rounding of the arguments in float32 may cost is let pass.
        if np.any(known_total > most * (1 + 1e-6)):
            raise ValueError(f"total must not exceed the sum of upper, got {known_total} > {most}; raise upper.")
    if array.size == 0:
        return array
    caps = _tree.match(upper, array)
    rows = array.reshape(-1) if axis is None else jnp.moveaxis(array, axis, -1)
    if caps.ndim:
        caps = caps.reshape(-1) if axis is None else jnp.moveaxis(caps, axis, -1)
    else:
        caps = caps.reshape((1,) * rows.ndim)
    # Relative to the largest entry: in float32 the sums would otherwise lose what exceeds the total.
    rows = rows - jnp.max(rows, -1, keepdims=True)
    totals = jnp.broadcast_to(jnp.asarray(total).astype(array.dtype), rows.shape[:-1])
    # Of size one along the entries: whole arrays of constants would be read at every step.
    zero, one = (jnp.full((1,) * rows.ndim, value, rows.dtype) for value in (0, 1))
    projected, _ = box_hyperplane_rows(rows, zero, caps, one, totals)
    return projected.reshape(array.shape) if axis is None else jnp.moveaxis(projected, -1, axis)
