"""Singular values whose derivatives stay finite where they repeat or vanish."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar


def _inverse(x: Array, size: Array) -> Array:
    """`1 / x`, and 0 where x is rounding next to `size`."""
    safe = jnp.abs(x) > 16 * float(jnp.finfo(x.dtype).eps) * size
    return jnp.where(safe, 1 / jnp.where(safe, x, 1), 0)


def product(*factors: Array) -> Array:
    """Matrix product in the highest precision: accelerators round float32 factors otherwise."""
    return jnp.linalg.multi_dot(factors, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def thin_svd(x: Float[Array, "m n"]) -> tuple[Array, Array, Array]:
    """`u (m, r), s (r,), v (n, r)` with `x = u diag(s) v^T`; where values agree the bases are held still."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return u, s, vt.T


@thin_svd.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    (x,), (dx,) = primals, tangents
    u, s, v = thin_svd(x)
    inner = product(u.T, dx, v)
    size = jnp.max(s, initial=0)
    # One division at a time: the squares of huge or tiny singular values leave the float range.
    gap = _inverse(s[None, :] - s[:, None], size)
    half = _inverse(s[None, :] + s[:, None], size)
    left = gap * (half * (inner * s[None, :] + s[:, None] * inner.T))
    right = gap * (half * (s[:, None] * inner + inner.T * s[None, :]))
    inverse = _inverse(s, size)
    du = product(u, left) + (product(dx, v) - product(u, inner)) * inverse[None, :]
    dv = product(v, right) + (product(dx.T, u) - product(v, inner.T)) * inverse[None, :]
    return (u, s, v), (du, jnp.diagonal(inner), dv)


@jax.custom_jvp
def shrink_singular_values(x: Float[Array, "m n"], level: Scalar) -> Float[Array, "m n"]:
    """`u diag(max(s - level, 0)) v^T`."""
    u, s, v = thin_svd(x)
    return product(u * jax.nn.relu(s - level)[None, :], v.T)


@shrink_singular_values.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """Divided differences of the thresholding: of values that agree they are its derivative."""
    (x, level), (dx, dlevel) = primals, tangents
    u, s, v = thin_svd(x)
    shrunk = jax.nn.relu(s - level)
    alive = s > level
    inner = product(u.T, dx, v)
    both = alive[:, None] & alive[None, :]
    one = alive[:, None] ^ alive[None, :]
    apart = jnp.where(one, jnp.abs(s[:, None] - s[None, :]), 1)
    differences = jnp.where(both, 1, jnp.where(one, jnp.maximum(shrunk[:, None], shrunk[None, :]) / apart, 0))
    some = both | one
    sums = (shrunk[:, None] + shrunk[None, :]) / jnp.where(some, s[:, None] + s[None, :], 1)
    ratio = jnp.where(alive, shrunk / jnp.where(alive, s, 1), 0)
    middle = 0.5 * (differences * (inner + inner.T) + sums * (inner - inner.T)) - jnp.diag(jnp.where(alive, dlevel, 0))
    # What leaves the two spans: at most one of the terms is there, as the larger span is everything.
    outer = product((product(dx, v) - product(u, inner)) * ratio[None, :], v.T)
    outer = outer + product(u * ratio[None, :], (product(dx.T, u) - product(v, inner.T)).T)
    return product(u * shrunk[None, :], v.T), product(u, middle, v.T) + outer
