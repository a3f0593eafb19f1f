"""Pieces that several penalties share: reductions over pytrees, indicators up to rounding, shrinkage."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, Params, Scalar


def total(fn: Callable[..., Array], x: Params, *rest: Params) -> Scalar:
    """Sum of `fn` over all entries of all leaves."""
    sums = jax.tree.map(lambda a, *others: jnp.sum(fn(a, *others)), x, *rest)
    return jax.tree.reduce(jnp.add, sums, jnp.zeros((), _tree.dtype_of(x)))


def largest(fn: Callable[..., Array], x: Params, *rest: Params) -> Scalar:
    """Maximum of a nonnegative `fn` over all entries of all leaves; zero where there are none."""
    peaks = jax.tree.map(lambda a, *others: jnp.max(fn(a, *others), initial=0), x, *rest)
    return jax.tree.reduce(jnp.maximum, peaks, jnp.zeros((), _tree.dtype_of(x)))


def every(fn: Callable[..., Bool[Array, "..."]], x: Params, *rest: Params) -> BoolScalar:
    """Whether `fn` holds at all entries of all leaves."""
    checks = jax.tree.map(lambda a, *others: jnp.all(fn(a, *others)), x, *rest)
    return jax.tree.reduce(jnp.logical_and, checks, jnp.asarray(True))


def indicator(inside: BoolScalar, x: Params) -> Scalar:
    """Zero inside, infinity outside, in the dtype of `x`."""
    return jnp.where(inside, 0, jnp.inf).astype(_tree.dtype_of(x))


def slack(x: Array, scale: Any = 1) -> Array:
    """How far rounding may push a point of a set of size `scale` out of it; sums over more entries round more."""
    unit = 16 * float(jnp.finfo(x.dtype).eps) * max(x.size, 1) ** 0.5
    return unit * jnp.asarray(scale).astype(x.dtype)


def at_most(norm: Scalar, bound: Any) -> BoolScalar:
    """Whether a dual norm is within its bound, up to rounding."""
    return norm <= jnp.asarray(bound).astype(norm.dtype) * (1 + 64 * float(jnp.finfo(norm.dtype).eps))


def shrink_ratio(bound: Any, norm: Array) -> Array:
    """`min(1, bound / norm)`, with 0 / 0 = 1."""
    bound = _tree.match(bound, norm)
    above = norm > bound
    return jnp.where(above, bound / jnp.where(above, norm, 1), 1)


def soft_threshold(x: Array, threshold: Array) -> Array:
    """`sign(x) * max(|x| - threshold, 0)`."""
    return jnp.sign(x) * jax.nn.relu(jnp.abs(x) - threshold)


def block_factor(norm: Array, threshold: Array) -> Array:
    """Factor `max(1 - threshold / norm, 0)` of block soft-thresholding, with derivative zero inside the threshold."""
    above = norm > threshold
    return jnp.where(above, 1 - threshold / jnp.where(above, norm, 1), 0)


def times(x: Params, factor: Array) -> Params:
    """A pytree times one scalar, in the dtype of each leaf."""
    return jax.tree.map(lambda a: a * factor.astype(a.dtype), x)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def normal_shift(pull: Array, free: Bool[Array, "n"]) -> Scalar:
    """Root s of `sum_free (s - pull) + sum_rest min(s - pull, 0) = 0`: the multiplier of a polyhedral normal cone.

    The function is concave and increasing; Newton's method from its left end climbs and ends after finitely many steps.
    """

    def newton(shift: Array, held: Array) -> Array:
        active = free | (held > shift)
        return jnp.sum(jnp.where(active, held, 0)) / jnp.maximum(jnp.sum(active), 1).astype(held.dtype)

    def climbs(carry: tuple[Array, Array]) -> Array:
        return carry[1] > carry[0]

    def climb(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return carry[1], jnp.maximum(carry[1], newton(carry[1], held))

    held = jax.lax.stop_gradient(pull)
    start = jnp.min(held)
    shift, _ = while_loop(climbs, climb, (start, jnp.maximum(start, newton(start, held))))
    # With no free entry every large shift is a root, and the largest pull is the least of them.
    return jnp.where(jnp.any(free), newton(shift, pull), jnp.max(pull))


def rows_of(x: Array, axis: int | None) -> Array:
    """`x` as vectors along its last axis: all of it as one (`axis=None`), or its slices along `axis`."""
    return x.reshape(1, -1) if axis is None else jnp.moveaxis(x, axis, -1)


def unrows(rows: Array, like: Array, axis: int | None) -> Array:
    """Inverse of `rows_of`."""
    return rows.reshape(like.shape) if axis is None else jnp.moveaxis(rows, -1, axis)


def fills(x: Params) -> Params:
    """A mask that holds at every entry."""
    return jax.tree.map(lambda a: jnp.ones(a.shape, bool), x)


def positive_root(b: Array, c: Array) -> Array:
    """Nonnegative root z of `z^2 - b z - c = 0` for c >= 0; c broadcasts to b."""
    return _positive_root(b, jnp.broadcast_to(c, b.shape))


@jax.custom_jvp
def _positive_root(b: Array, c: Array) -> Array:
    unit = jnp.maximum(jnp.abs(b), jnp.sqrt(c))
    unit = jnp.where((unit > 0) & jnp.isfinite(unit), unit, 1)
    # In units of its size nothing overflows; for negative b the other form of the root does not cancel.
    b, c = b / unit, c / unit / unit
    reach = jnp.sqrt(b * b + 4 * c)
    below = b < 0
    return unit * jnp.where(below, 2 * c / jnp.where(below, reach - b, 1), 0.5 * (jnp.where(below, 0, b) + reach))


@_positive_root.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    b, c = primals
    db, dc = tangents
    z = _positive_root(b, c)
    reach = 2 * z - b
    moves = reach > 0
    safe = jnp.where(moves, reach, 1)
    return z, jnp.where(moves, z / safe, 0) * db + jnp.where(moves, 1 / safe, 0) * dc


def entropic_root(v: Array, strength: Array, reference: Array) -> Array:
    """Root z >= 0 of `z + strength log(z / reference) = v`; the last two broadcast to v."""
    return _entropic_root(v, jnp.broadcast_to(strength, v.shape), jnp.broadcast_to(reference, v.shape))


@jax.custom_jvp
def _entropic_root(v: Array, strength: Array, reference: Array) -> Array:
    curved = strength > 0
    t = jnp.where(curved, strength, 1)
    # z = t w with w + log w = a, a Lambert function in the log domain, where nothing overflows.
    a = v / t + jnp.log(reference / t)
    y = jnp.where(a > 1, jnp.log(jnp.maximum(a, 1)), a)
    # Newton's method on a convex function from the right of its root; five steps reach the rounding of float64.
    for _ in range(5):
        e = jnp.exp(y)
        y = y - (e + y - a) / (1 + e)
    w = jnp.exp(y)
    alive = w > 0
    # One step in w itself: a large w is the exponential of a rounded logarithm.
    w = jnp.where(alive, w / (1 + w) * (1 + a - jnp.log(jnp.where(alive, w, 1))), 0)
    return jnp.where(curved, t * w, jax.nn.relu(v))


@_entropic_root.defjvp
def _(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    v, strength, reference = primals
    dv, dstrength, dreference = tangents
    z = _entropic_root(v, strength, reference)
    alive = z > 0
    gain = jnp.where(alive, z / jnp.where(alive, z + strength, 1), 0)
    logarithm = jnp.log(jnp.where(alive, z / reference, 1))
    return z, gain * (dv - logarithm * dstrength + strength / reference * dreference)
