"""Simplices along an axis: norms, sums, and the points that duals of power entropies stand for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, Scalar
from .._validate import concrete
from ..penalties import AbstractPenalty, L1, NonNegative, Simplex
from ._stable import exprel, log1prel


def one_norm_of_slices(x: Float[Array, "..."], axis: int) -> Scalar:
    """Euclidean norm of the l1 norms of the slices."""
    return _tree.norm(jnp.sum(jnp.abs(x), axis))


def largest_of_slices(x: Float[Array, "..."], axis: int) -> Scalar:
    """Euclidean norm of the largest absolute entries of the slices."""
    return _tree.norm(jnp.max(jnp.abs(x), axis))


def sums_to_one(x: Float[Array, "..."], axis: int) -> BoolScalar:
    """Whether every slice sums to one up to rounding."""
    room = 16 * max(x.shape[axis], 16) * float(jnp.finfo(x.dtype).eps)
    return jnp.all(jnp.abs(jnp.sum(x, axis) - 1) <= room)


def simplex_prox(dual: Array, penalty: AbstractPenalty, step: ArrayLike, axis: int) -> Array | None:
    """`prox_dual` of a map of unit simplices, for what is linear there or vanishes; None for other penalties.

    Raises `ValueError` for the indicator of simplices of another size or along another axis.
    """
    if isinstance(penalty, NonNegative):
        return dual
    if isinstance(penalty, L1) and eqx.is_array(penalty.strength):
        return dual - _tree.match(penalty.strength, dual) * _tree.match(step, dual)
    if not isinstance(penalty, Simplex):
        return None
    same = dual.ndim == 1 if penalty.axis is None else penalty.axis % dual.ndim == axis % dual.ndim
    if not same:
        raise ValueError(
            f"Simplex must have the axis of the mirror map, got {penalty.axis} and {axis}; make them agree."
        )
    return keep_unit(dual, penalty)


def keep_unit(dual: Array, penalty: Simplex) -> Array:
    """`dual` where the simplex is the unit one; a known radius other than 1 raises, a traced one gives NaN."""
    known = concrete(penalty.radius)
    if known is not None and not np.all(known == 1):
        raise ValueError(f"Simplex must have radius 1 as the mirror map has, got {known}; scale the variable.")
    return jnp.where(jnp.all(penalty.radius == 1), dual, jnp.nan)


def power_logarithm(x: Array, a: Array) -> Array:
    """`(x^(a-1) - 1) / (a - 1)`, the logarithm at a = 1, at zero its limit."""
    alive = x > 0
    log = jnp.log(jnp.where(alive, x, 1))
    above = a > 1
    edge = jnp.where(above, -1 / jnp.where(above, a - 1, 1), -jnp.inf)
    return jnp.where(alive, log * exprel((a - 1) * log), edge)


def _power_exponential(depth: Array, c: Array) -> Array:
    """Inverse of the power logarithm at `-depth <= 0`, for `c = 1 - a`; zero beyond its reach."""
    reach = log1prel(c * depth)
    alive = jnp.isfinite(reach) & jnp.isfinite(depth)
    return jnp.where(alive, jnp.exp(-jnp.where(alive, depth, 0) * jnp.where(alive, reach, 0)), 0)


@jax.custom_jvp
def simplex_point(rows: Float[Array, "*batch n"], a: Scalar) -> Float[Array, "*batch n"]:
    """Points of the unit simplex with `power_logarithm(x, a) = rows - constant` where positive, for a >= 0."""
    return _solve(rows, a)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def _solve(rows: Array, a: Array) -> Array:
    c = 1 - a
    size = jnp.asarray(rows.shape[-1], rows.dtype)
    gaps = jnp.max(rows, -1, keepdims=True) - rows
    gaps = jnp.where(jnp.isnan(gaps), jnp.inf, gaps)
    eps = float(jnp.finfo(rows.dtype).eps)
    log_size = jnp.log(size)

    def mass(shift: Array) -> tuple[Array, Array]:
        x = _power_exponential(gaps + shift, c)
        slope = jnp.where(x > 0, jnp.where(x > 0, x, 1) ** (1 + c), 0)
        return jnp.sum(x, -1, keepdims=True), jnp.sum(slope, -1, keepdims=True)

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        lower, upper, shift, _, count = carry
        total, slope = mass(shift)
        lower, upper = jnp.where(total >= 1, shift, lower), jnp.where(total >= 1, upper, shift)
        # Newton's method on the power of the sum that is nearly linear in the shift.
        newton = shift - power_logarithm(1 / total, 1 + c) * total ** (1 + c) / slope
        inside = (newton > lower) & (newton < upper)
        # Every third trial halves the bracket, whatever the curvature does to the others.
        trial = jnp.where(inside & (count % 3 != 2), newton, lower + (upper - lower) / 2)
        done = (jnp.abs(total - 1) <= 4 * eps) | (upper - lower <= eps * (1 + upper))
        return lower, upper, jnp.where(done, shift, trial), done, count + 1

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return ~jnp.all(carry[3]) & (carry[4] < 100)

    start = jnp.zeros_like(gaps[..., :1])
    top = start + log_size * exprel(c * log_size)
    carry = (start, top, start, jnp.zeros(start.shape, bool), jnp.asarray(0, jnp.int32))
    x = _power_exponential(gaps + while_loop(unfinished, body, carry)[2], c)
    # What is left of the rounding of the root is shared out.
    return x / jnp.sum(x, -1, keepdims=True)


@simplex_point.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (rows, a), (drows, da) = primals, tangents
    x = simplex_point(rows, a)
    alive = x > 0
    safe = jnp.where(alive, x, 1)
    slope = jnp.where(alive, safe ** (2 - a), 0)
    _, moved = jax.jvp(lambda power: power_logarithm(safe, power), (a,), (da,))
    pull = jnp.where(alive, drows - moved, 0)
    mean = jnp.sum(slope * pull, -1, keepdims=True) / jnp.sum(slope, -1, keepdims=True)
    return x, slope * (pull - mean)


def simplex_slices(dual: Float[Array, "..."], a: Scalar, axis: int) -> Float[Array, "..."]:
    """`simplex_point` of the slices along an axis."""
    rows = simplex_point(jnp.moveaxis(dual, axis, -1), a.astype(dual.dtype))
    return jnp.moveaxis(rows, -1, axis)
