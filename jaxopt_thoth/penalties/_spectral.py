"""Singular values and eigenvalues whose derivatives stay finite where they repeat or vanish."""

from typing import Any

import equinox as eqx
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


@jax.custom_jvp
def eigen(x: Float[Array, "n n"]) -> tuple[Array, Array]:
    """Eigenvalues `w (n,)` and vectors of a symmetric matrix; where values agree the basis is held still."""
    values, vectors = jnp.linalg.eigh(x, symmetrize_input=False)
    return values, vectors


@eigen.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (x,), (dx,) = primals, tangents
    w, vectors = eigen(x)
    inner = product(vectors.T, dx, vectors)
    gap = _inverse(w[None, :] - w[:, None], jnp.max(jnp.abs(w), initial=0))
    return (w, vectors), (jnp.diagonal(inner), product(vectors, gap * inner))


def symmetric_part(x: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """`(x + x^T) / 2`; raises `ValueError` unless `x` is a square matrix."""
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"x must be a square matrix, got shape {x.shape}; vmap over its leading axes.")
    # Halved first, or the sum could overflow.
    return x / 2 + x.T / 2


def _moves(
    penalty: Any, values: Array, step: Array, tangents: tuple[Any, Array, Any]
) -> tuple[Array, Array, Array, Array]:
    """The prox of the values, its tangent, its Jacobian, and its divided differences."""
    dpenalty, dvalues, dstep = tangents
    prox = lambda g, v, t: g.prox(v, t)
    new, dnew = eqx.filter_jvp(prox, (penalty, values, step), (dpenalty, dvalues, dstep))
    jacobian = jax.jacfwd(lambda v: penalty.prox(v, step))(values)
    own = jnp.diagonal(jacobian)
    # Of values that agree the divided difference is the derivative along their difference. The square root balances
    # the rounding of the one with the truncation of the other.
    near = float(jnp.finfo(values.dtype).eps) ** 0.5 * jnp.max(jnp.abs(values), initial=0)
    gap = values[:, None] - values[None, :]
    apart = jnp.abs(gap) > near
    limit = (own[:, None] + own[None, :] - jacobian - jacobian.T) / 2
    differences = jnp.where(apart, (new[:, None] - new[None, :]) / jnp.where(apart, gap, 1), limit)
    return new, dnew, jacobian, differences


# Filtered, because the penalty may hold what is no array; its tangents are None where nothing is differentiated.
@eqx.filter_custom_jvp
def map_singular_values(x: Float[Array, "m n"], penalty: Any, step: Array) -> Float[Array, "m n"]:
    """`u diag(prox(s)) v^T` for the prox of a penalty that forgets signs and order."""
    u, s, v = thin_svd(x)
    return product(u * penalty.prox(s, step)[None, :], v.T)


@map_singular_values.def_jvp
def _(primals: tuple[Array, Any, Array], tangents: tuple[Any, Any, Any]) -> tuple[Array, Array]:
    x, penalty, step = primals
    dx, dpenalty, dstep = tangents
    dx = jnp.zeros_like(x) if dx is None else dx
    u, s, v = thin_svd(x)
    inner = product(u.T, dx, v)
    new, dnew, jacobian, differences = _moves(penalty, s, step, (dpenalty, jnp.diagonal(inner), dstep))
    own = jnp.diagonal(jacobian)
    total = s[:, None] + s[None, :]
    tiny = 16 * float(jnp.finfo(x.dtype).eps) * jnp.max(s, initial=0)
    some = total > tiny
    limit = (own[:, None] + own[None, :] + jacobian + jacobian.T) / 2
    sums = jnp.where(some, (new[:, None] + new[None, :]) / jnp.where(some, total, 1), limit)
    ratio = jnp.where(s > tiny, new / jnp.where(s > tiny, s, 1), own)
    off = 1 - jnp.eye(s.size, dtype=x.dtype)
    middle = 0.5 * off * (differences * (inner + inner.T) + sums * (inner - inner.T)) + jnp.diag(dnew)
    # What leaves the two spans: at most one of the terms is there, as the larger span is everything.
    outer = product((product(dx, v) - product(u, inner)) * ratio[None, :], v.T)
    outer = outer + product(u * ratio[None, :], (product(dx.T, u) - product(v, inner.T)).T)
    return product(u * new[None, :], v.T), product(u, middle, v.T) + outer


@eqx.filter_custom_jvp
def map_eigenvalues(x: Float[Array, "n n"], penalty: Any, step: Array) -> Float[Array, "n n"]:
    """`v diag(prox(w)) v^T` of a symmetric matrix, for the prox of a penalty that forgets the order."""
    w, v = eigen(x)
    return product(v * penalty.prox(w, step)[None, :], v.T)


@map_eigenvalues.def_jvp
def _(primals: tuple[Array, Any, Array], tangents: tuple[Any, Any, Any]) -> tuple[Array, Array]:
    x, penalty, step = primals
    dx, dpenalty, dstep = tangents
    dx = jnp.zeros_like(x) if dx is None else dx
    w, v = eigen(x)
    inner = product(v.T, dx, v)
    new, dnew, _, differences = _moves(penalty, w, step, (dpenalty, jnp.diagonal(inner), dstep))
    middle = (1 - jnp.eye(w.size, dtype=x.dtype)) * differences * inner + jnp.diag(dnew)
    return product(v * new[None, :], v.T), product(v, middle, v.T)
