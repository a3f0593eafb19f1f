"""Linear minimization over bounded sets, `argmin_{z in set} <gradient, z>`, with the arguments of the projections."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from .. import _tree, projections
from .._types import Params
from ._parts import rows_of, times, unrows


def box(gradient: Array, lower: ArrayLike, upper: ArrayLike) -> Array:
    """The lower bound where the gradient is positive, the upper one where it is negative; zero prefers a finite one."""
    low, high = _tree.match(lower, gradient), _tree.match(upper, gradient)
    free = jnp.where(jnp.isfinite(low), low, jnp.where(jnp.isfinite(high), high, 0))
    return jnp.where(gradient > 0, low, jnp.where(gradient < 0, high, free))


def linf_ball(gradient: Array, radius: ArrayLike = 1.0) -> Array:
    bound = _tree.match(radius, gradient)
    return box(gradient, -bound, bound)


def _spike(rows: Array, place: Array, radius: ArrayLike) -> Array:
    """`radius` at one place of each row, zero elsewhere."""
    height = jnp.broadcast_to(_tree.match(radius, rows[..., 0]), place.shape)
    return jax.nn.one_hot(place, rows.shape[-1], dtype=rows.dtype) * height[..., None]


def simplex(gradient: Array, radius: ArrayLike = 1.0, axis: int | None = None) -> Array:
    rows = rows_of(gradient, axis)
    return unrows(_spike(rows, jnp.argmin(rows, -1), radius), gradient, axis)


def l1_ball(gradient: Array, radius: ArrayLike = 1.0, axis: int | None = None) -> Array:
    rows = rows_of(gradient, axis)
    spike = _spike(rows, jnp.argmax(jnp.abs(rows), -1), radius)
    return unrows(jnp.where(rows > 0, -spike, spike), gradient, axis)


def l2_ball(gradient: Params, radius: ArrayLike = 1.0) -> Params:
    norm = _tree.stable_norm(gradient)
    return times(gradient, -_tree.match(radius, norm) / jnp.where(norm > 0, norm, 1))


def l1_inf_ball(gradient: Array, radius: ArrayLike = 1.0) -> Array:
    """All of the radius in one row, at each entry of it."""
    chosen = _spike(sums := jnp.sum(jnp.abs(gradient), 1), jnp.argmax(sums), radius)
    return jnp.where(gradient > 0, -chosen[:, None], chosen[:, None])


def _fill(cost: Array, room: Array, amount: Array) -> Array:
    """Cheapest way to share an amount among entries of limited room: the cheapest are filled one after the other."""
    order = jnp.argsort(cost, -1)
    sorted_room = jnp.take_along_axis(room, order, -1)
    taken = jnp.cumsum(sorted_room, -1)
    before = jnp.concatenate([jnp.zeros_like(taken[..., :1]), taken[..., :-1]], -1)
    shares = jnp.clip(amount[..., None] - before, 0, sorted_room)
    return jnp.take_along_axis(shares, jnp.argsort(order, -1), -1)


def capped_simplex(gradient: Array, total: ArrayLike, upper: ArrayLike = 1.0, axis: int | None = None) -> Array:
    rows = rows_of(gradient, axis)
    caps = rows_of(jnp.broadcast_to(_tree.match(upper, gradient), gradient.shape), axis)
    totals = jnp.broadcast_to(_tree.match(total, rows[..., 0]), rows.shape[:-1])
    return unrows(_fill(rows, caps, totals), gradient, axis)


def box_hyperplane(gradient: Array, lower: ArrayLike, upper: ArrayLike, normal: ArrayLike, offset: ArrayLike) -> Array:
    """A knapsack: from the corner with the least `<normal, z>`, entries move in the order of their cost a unit."""
    low, high, slope = (jnp.broadcast_to(_tree.match(a, gradient), gradient.shape) for a in (lower, upper, normal))
    moves = slope != 0
    unit = jnp.where(moves, slope, 1)
    corner = jnp.where(slope > 0, low, high)
    room = jnp.where(moves, jnp.abs(unit) * (high - low), 0).reshape(-1)
    amount = _tree.match(offset, gradient) - jnp.sum(jnp.where(moves, slope * corner, 0))
    share = _fill((gradient / unit).reshape(-1), room, amount).reshape(gradient.shape)
    return jnp.where(moves, corner + share / unit, box(gradient, low, high))


def birkhoff(gradient: Array, max_steps: int = 500) -> Array:
    """The permutation matrix of an optimal assignment, exactly, by the Hungarian method."""
    rows, columns = optax.assignment.hungarian_algorithm(gradient)
    return jnp.zeros_like(gradient).at[rows, columns].set(1)


# By the projection that an `Indicator` is made of.
OF_PROJECTION: dict[Callable[..., Array], Callable[..., Array]] = {
    projections.birkhoff: birkhoff,
    projections.box: box,
    projections.box_hyperplane: box_hyperplane,
    projections.capped_simplex: capped_simplex,
    projections.l1_ball: l1_ball,
    projections.l1_inf_ball: l1_inf_ball,
    projections.l2_ball: l2_ball,
    projections.linf_ball: linf_ball,
    projections.simplex: simplex,
}
