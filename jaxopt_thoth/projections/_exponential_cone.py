import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop


def exponential_cone(x: Float[ArrayLike, " 3"]) -> Float[Array, " 3"]:
    """Euclidean projection onto the exponential cone, the closure of `{(r, s, t): s > 0, s exp(r / s) <= t}`.

    `x` is the vector `(r, s, t)`, ordered as in SCS; `vmap` serves many. Differentiable, forward and reverse. Raises
    `ValueError` for another shape.

    Friberg, "Projection onto the exponential cone: a univariate root-finding problem", 2021: off the cone, its polar
    and its flat face, point and residual are multiples of `(p, 1, exp(p))` and `(1, 1 - p, -exp(-p))`, where the ratio
    `p` is the root of an increasing function with known ends, found by Newton's method kept in a bracket. The Jacobian
    is that of a curved surface: one along the ray, zero along the residual, and a number between across both.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.exponential_cone(jnp.array([-1.0, -2.0, 3.0])).tolist()
        [-1.0, 0.0, 3.0]
    """
    array = _tree.as_inexact(x)
    if array.shape != (3,):
        raise ValueError(f"x must be one vector (r, s, t), got shape {array.shape}; vmap over its leading axes.")
    # The cone is homogeneous, and of size one nothing overflows.
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(array)))
    unit = jnp.where(peak > 0, peak, 1)
    return _project(array / unit) * unit


def _regions(x: Array) -> tuple[Array, Array, Array]:
    """Whether `x` lies in the cone, in its polar, and where its projection has exactly clipped entries."""
    r, s, t = x
    positive_r, positive_s = r > 0, s > 0
    height = s * jnp.exp(r / jnp.where(positive_s, s, 1))
    depth = r * jnp.exp(s / jnp.where(positive_r, r, 1) - 1)
    inside = positive_s & (height <= t)
    polar = positive_r & (depth <= -t)
    low, high = _ends(x)
    limit = _limit(x.dtype)
    # Beyond the range of the exponential the curved part of the boundary is flat to rounding.
    flat = ~positive_r & ~positive_s | (high <= -limit) | (low >= limit)
    return inside, polar, flat


def _limit(dtype: jnp.dtype) -> float:
    return 0.9 * math.log(float(jnp.finfo(dtype).max))


def _ends(x: Array) -> tuple[Array, Array]:
    """The ratios at which the multiple of the point, or that of the residual, vanishes."""
    r, s, _ = x
    low = jnp.where(r > 0, 1 - s / jnp.where(r > 0, r, 1), -jnp.inf)
    high = jnp.where(s > 0, r / jnp.where(s > 0, s, 1), jnp.inf)
    return low, high


def _multiples(p: Array, x: Array) -> tuple[Array, Array]:
    r, s, _ = x
    determinant = p * (p - 1) + 1
    return ((p - 1) * r + s) / determinant, (r - p * s) / determinant


@jax.custom_jvp
@jax.jit
def _ratio(x: Float[Array, " 3"]) -> Float[Array, ""]:
    r, s, t = x
    limit = _limit(x.dtype)
    low, high = (jnp.clip(end, -limit, limit) for end in _ends(x))

    def look(p: Array) -> tuple[Array, Array]:
        primal, residual = _multiples(p, x)
        determinant = p * (p - 1) + 1
        bend = (2 * p - 1) / determinant
        grow, decay = jnp.exp(p), jnp.exp(-p)
        slope = (r / determinant + primal * (1 - bend)) * grow + (s / determinant + residual * (1 + bend)) * decay
        return primal * grow - residual * decay - t, slope

    def unfinished(carry: tuple[Array, ...]) -> Array:
        *_, done, step = carry
        return ~done & (step < 200)

    def narrow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        p, low, high, last, _, step = carry
        excess, slope = look(p)
        low, high = jnp.where(excess <= 0, p, low), jnp.where(excess >= 0, p, high)
        move = -excess / jnp.where(slope > 0, slope, 1)
        # Newton's step where it stays inside and shrinks, else half of the bracket.
        good = (slope > 0) & (p + move >= low) & (p + move <= high) & (jnp.abs(move) <= jnp.abs(last) / 2)
        middle = low + (high - low) / 2
        new = jnp.where(good, p + move, middle)
        done = (new == p) | (low >= high) | (excess == 0)
        return jnp.where(excess == 0, p, new), low, high, new - p, done, step + 1

    start = low + (high - low) / 2
    carry = (start, low, high, high - low, jnp.asarray(False), jnp.asarray(0))
    return while_loop(unfinished, narrow, carry)[0]


def _frame(p: Array, x: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Unit vectors along the ray and across, squared speed of the curve, and both multiples, free of overflow."""
    primal, residual = _multiples(p, x)
    small = jnp.exp(-jnp.abs(p))
    rises = p > 0
    one = jnp.ones((), x.dtype)
    # Each is scaled by the exponential where that is large.
    ray = jnp.where(rises, jnp.stack([p * small, small, one]), jnp.stack([p, one, small]))
    normal = jnp.where(rises, jnp.stack([one, 1 - p, -small]), jnp.stack([small, (1 - p) * small, -one]))
    speed = jnp.sum(normal * normal) / jnp.sum(ray * ray)
    along = ray / jnp.sqrt(jnp.sum(ray * ray))
    across = jnp.cross(along, normal / jnp.sqrt(jnp.sum(normal * normal)))
    return along, across, speed, jnp.maximum(primal, 0), jnp.maximum(residual, 0)


@_ratio.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    p = _ratio(x)
    _, across, speed, primal, residual = _frame(p, x)
    weight = primal * speed + residual
    slope = jnp.sum(across * dx) * jnp.sqrt(speed) / jnp.where(weight > 0, weight, 1)
    # The vector across points to smaller ratios.
    return p, jnp.where(weight > 0, -slope, 0)


@jax.custom_jvp
def _project(x: Float[Array, " 3"]) -> Float[Array, " 3"]:
    inside, polar, flat = _regions(x)
    r, s, t = x
    p = _ratio(x)
    primal, residual = _multiples(p, x)
    # Multiples of the ray, by the form that rounding of the ratio does not blow up.
    small = jnp.exp(-jnp.abs(p))
    height = t + residual * small
    rising = jnp.stack([p * small, small, jnp.ones_like(p)]) * height
    falling = jnp.stack([p, jnp.ones_like(p), small]) * primal
    curved = jnp.where(p > 0, rising, falling)
    clipped = jnp.stack([jnp.minimum(r, 0), jnp.maximum(s, 0), jnp.maximum(t, 0)])
    return jnp.where(inside, x, jnp.where(polar, 0, jnp.where(flat, clipped, curved)))


@_project.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    inside, polar, flat = _regions(x)
    along, across, speed, primal, residual = _frame(_ratio(x), x)
    weight = primal * speed + residual
    share = jnp.where(weight > 0, primal * speed / jnp.where(weight > 0, weight, 1), 0)
    curved = along * jnp.sum(along * dx) + across * (share * jnp.sum(across * dx))
    kept = jnp.stack([x[0] < 0, x[1] > 0, x[2] > 0])
    tangent = jnp.where(inside, dx, jnp.where(polar, 0, jnp.where(flat, jnp.where(kept, dx, 0), curved)))
    return _project(x), tangent
