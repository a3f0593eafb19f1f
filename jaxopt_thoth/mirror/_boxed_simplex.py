"""The entropic projection onto a unit simplex with bounds, in logits."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar
from .._validate import concrete
from ..penalties import AbstractPenalty, Box, Indicator
from ..projections import box_hyperplane, capped_simplex


def boxed_simplex_prox(dual: Array, penalty: AbstractPenalty, axis: int) -> Array | None:
    """`prox_dual` for `Box`, and the indicators of `capped_simplex` and `box_hyperplane`; None for other penalties.

    Raises `ValueError` where the set is known to be empty, or another one than the bounds leave of the unit simplices;
    NaN where that shows in traced values only.
    """
    if isinstance(penalty, Box) and eqx.is_array(penalty.lower) and eqx.is_array(penalty.upper):
        return _boxed(dual, penalty.lower, penalty.upper, axis)
    if not isinstance(penalty, Indicator) or penalty.project not in (capped_simplex, box_hyperplane):
        return None
    bound = inspect.signature(penalty.project).bind(dual, *penalty.args, **dict(penalty.options))
    bound.apply_defaults()
    settings = bound.arguments
    along = settings.get("axis")
    if not (dual.ndim == 1 if along is None else along % dual.ndim == axis % dual.ndim):
        raise ValueError(
            f"penalty must have the axis of the mirror map, got {along} and {axis}; make them agree, "
            "by capped_simplex where there are several slices."
        )
    capped = penalty.project is capped_simplex
    names = ("total",) if capped else ("normal", "offset")
    same = [_is_one(settings[name], f"{name} of {penalty.project.__name__}") for name in names]
    point = _boxed(dual, 0.0 if capped else settings["lower"], settings["upper"], axis)
    return jnp.where(jnp.all(jnp.stack(same)), point, jnp.nan)


def _is_one(value: ArrayLike, name: str) -> BoolScalar:
    known = concrete(value)
    if known is not None and not np.all(known == 1):
        raise ValueError(f"{name} must be 1 for a unit simplex, got {known}; scale the variable.")
    return jnp.all(jnp.asarray(value) == 1)


def _boxed(dual: Array, lower: ArrayLike, upper: ArrayLike, axis: int) -> Array:
    known = [concrete(bound) for bound in (lower, upper)]
    for sign, name, bound in zip((1, -1), ("lower", "upper"), known, strict=True):
        if bound is None:
            continue
        sums = np.broadcast_to(np.maximum(bound, 0), dual.shape).astype(float).sum(axis)
        # What rounding of the bounds in float32 may cost is let pass.
        if np.any(sign * (sums - 1) > 1e-6) or (sign < 0 and np.any(bound < 0)):
            raise ValueError(
                f"{name} must leave a point of the unit simplex, got {bound}; widen the box: lower bounds may sum to "
                "at most 1, upper ones must be nonnegative and sum to at least 1."
            )
    rows = jnp.moveaxis(dual, axis, -1)
    sides = [jnp.moveaxis(jnp.broadcast_to(_tree.match(b, dual), dual.shape), axis, -1) for b in (lower, upper)]
    return jnp.moveaxis(_boxed_rows(rows, *sides), -1, axis)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def _boxed_rows(rows: Float[Array, "*b n"], lower: Float[Array, "*b n"], upper: Float[Array, "*b n"]) -> Array:
    """Logarithms of `clip(exp(rows + t), lower, upper)` with the t for which each row sums to one."""
    total = lambda x: jnp.sum(x, -1, keepdims=True)
    lower = jnp.maximum(lower, 0)
    logarithm = lambda x: jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1)), -jnp.inf)
    low, high = logarithm(lower), logarithm(upper)
    # An entry of minus infinity stays at its lower bound, wherever the others go.
    frozen = rows == -jnp.inf
    rows = jnp.where(frozen, 0, rows)
    enters, leaves = (jnp.where(frozen, jnp.inf, jax.lax.stop_gradient(end - rows)) for end in (low, high))
    bends = jnp.sort(jnp.concatenate([enters, leaves], -1), -1)
    count = bends.shape[-1]

    def at(t: Array) -> Array:
        return jnp.where(frozen, low, jnp.clip(rows + t, low, high))

    def bend(place: Array) -> Array:
        inside = jnp.take_along_axis(bends, jnp.clip(place, 0, count - 1), -1)
        return jnp.where(place < 0, -jnp.inf, jnp.where(place >= count, jnp.inf, inside))

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        first, last = ends
        middle = (first + last) // 2
        below = total(jnp.exp(at(bend(middle)))) <= 1
        return jnp.where(below, middle, first), jnp.where(below, last, middle)

    held = jnp.zeros_like(bends[..., :1], jnp.int32)
    first, last = jax.lax.fori_loop(0, int(np.ceil(np.log2(count + 1))), halve, (held - 1, held + count))
    left, right = bend(first), bend(last)
    # Between neighboring bends the same entries are free, and t is known.
    free = (enters <= left) & (leaves >= right)
    capped = leaves <= left
    rest = 1 - total(jnp.where(free, 0, jnp.where(capped, upper, lower)))
    some = jnp.any(free, -1, keepdims=True)
    # Relative to the largest free entry: next to it the others may be too far off for their sum with t to be exact.
    shifted = rows - jnp.max(jnp.where(free | ~some, rows, -jnp.inf), -1, keepdims=True)
    mass = jax.nn.logsumexp(jnp.where(free | ~some, shifted, -jnp.inf), -1, keepdims=True)
    t = jnp.where(some & (rest > 0), jnp.log(jnp.where(rest > 0, rest, 1)) - mass, -jnp.inf)
    moved = jnp.where(free, jnp.clip(shifted + t, low, high), jnp.where(capped, high, low))
    room = 1e-6 + 64 * float(jnp.finfo(rows.dtype).eps)
    possible = (total(lower) <= 1 + room) & (total(upper) >= 1 - room) & jnp.all(upper >= lower, -1, keepdims=True)
    return jnp.where(possible, moved, jnp.nan)
