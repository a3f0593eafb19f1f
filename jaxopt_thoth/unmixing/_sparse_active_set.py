"""Quadratic programs over the nonnegative orthant, or the unit simplex, by an active set of few atoms out of many."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._loop import while_loop
from .._types import IntScalar
from ._face_system import positive_on_simplex
from ._pixel_groups import map_groups


# Room for the atoms that a pixel uses: a step costs its square, so that it grows only when a pixel needs more.
_ROOM = (8, 16, 24, 48)
# As many as keep the roots in the cache of a core.
_PIXELS_AT_ONCE = 128
_product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class _State(NamedTuple):
    """Pixels lie along the last axes, so that what is done to one is done to as many as the processor has lanes."""

    abundances: Float[Array, "M b"]
    slope: Float[Array, "M b"]
    atoms: Int[Array, "k b"]
    used: Bool[Array, "k b"]
    root: Float[Array, "k k b"]
    done: Bool[Array, "1 b"]
    crowded: Bool[Array, "1 b"]
    blocked: Bool[Array, "M b"]
    entering: Int[Array, "1 b"]
    num_steps: IntScalar


def solve_sparse(
    gram: Float[Array, "M M"], cross: Float[Array, "M N"], *, sum_to_one: bool = False
) -> tuple[Float[Array, "M N"], Bool[Array, " N"]]:
    """Minimizers of `x' G x / 2 - f' x` over `x >= 0`, and in which pixels they were found.

    The atom of the steepest slope enters; where the solution on the enlarged support leaves the orthant, a step to
    the boundary drops the atom that reached it. A root of the inverse of the support's matrix follows by updates of
    rank one, an orthogonal one where an atom leaves, so that libraries of nearly equal spectra keep half the digits
    that their Gram matrix loses. Every step is one of Newton from where the weights are: the next corrects its
    rounding. Pixels that need more than 48 atoms, or that rounding keeps moving, are reported as not found.

    Source: C. Lawson, R. Hanson, "Solving Least Squares Problems", 1974, chapter 23.
    """
    if sum_to_one:
        gram = positive_on_simplex(gram)
    return map_groups(lambda linear: _solve_blocks(gram, linear, sum_to_one), cross)


def _solve_blocks(gram: Array, cross: Array, sum_to_one: bool) -> tuple[Array, Array]:
    atoms, count = cross.shape
    size = min(_PIXELS_AT_ONCE, count)
    blocks = -(-count // size)
    padded = jnp.pad(cross, ((0, 0), (0, blocks * size - count)))
    split = padded.reshape(atoms, blocks, size).transpose(1, 0, 2)
    weights, done = jax.lax.map(lambda linear: _solve_block(gram, linear, sum_to_one), split)
    return weights.transpose(1, 0, 2).reshape(atoms, -1)[:, :count], done.reshape(-1)[:count]


def _solve_block(gram: Array, linear: Array, sum_to_one: bool) -> tuple[Array, Array]:
    size, count = linear.shape
    dtype = linear.dtype
    eps = jnp.finfo(dtype).eps
    diagonal = jnp.diagonal(gram)
    scale = jnp.maximum(jnp.max(diagonal), jnp.finfo(dtype).tiny)
    ridge = 32 * eps
    tolerance = 30 * eps * (_most(jnp.abs(linear)) + scale * (1 if sum_to_one else eps))
    places, pixels = jnp.arange(size, dtype=jnp.int32)[:, None], jnp.arange(count, dtype=jnp.int32)[None, :]

    def step(state: _State) -> _State:
        used, atoms, root, done = state.used, state.atoms, state.root, state.done
        slots = jnp.arange(used.shape[0], dtype=jnp.int32)[:, None]
        weights = jnp.where(used, state.abundances[atoms, pixels], 0)
        push = jnp.where(used, state.slope[atoms, pixels], 0)
        move = _apply(root, _pull(root, push))
        if sum_to_one:
            towards = _apply(root, _pull(root, used.astype(dtype)))
            lack = 1 - _total(weights) - _total(move)
            move = move + towards * (lack / jnp.where(_any(used), _total(towards), 1))
        target = weights + move
        leaving = used & (target <= 0)
        gap = jnp.where(leaving, weights - target, 1)
        ratios = jnp.where(leaving, weights / jnp.where(gap > 0, gap, 1), jnp.inf)
        shortest = jnp.min(ratios, axis=0, keepdims=True)
        full = ~_any(leaving)
        out = _first(leaving & (ratios <= shortest), slots)
        dropped = (slots == out) & ~full
        weights = jnp.where(used & ~dropped, jnp.maximum(weights + jnp.minimum(shortest, 1) * move, 0), 0)
        used = used & ~dropped
        # A slot that is not in use must not write over the atom that it once held.
        dense = jnp.zeros_like(linear).at[jnp.where(used, atoms, size), pixels].set(weights, mode="drop")
        # By the change alone: rounding is then that of ever smaller numbers, and the slope that of one problem near by
        # throughout, where a slope from scratch would jitter, and atoms come and go with it.
        slope = state.slope - _product(gram, dense - state.abundances)
        inside = dense > 0
        reduced = slope
        if sum_to_one:
            level = _total(jnp.where(used, slope[atoms, pixels], 0))
            reduced = slope - level / jnp.maximum(jnp.sum(used, axis=0, keepdims=True), 1).astype(dtype)
        # Only rounding drops an atom at the very step it entered: it is not offered again.
        refused = ~full & (shortest <= 0) & (atoms[out, pixels] == state.entering)
        blocked = state.blocked | ((places == state.entering) & refused)
        offered = jnp.where(inside | blocked, -jnp.inf, reduced)
        best = _most(offered)
        # Where rounding has kept a pixel moving for long, an optimum to fewer digits is the best there is.
        long = state.num_steps > 3 * used.shape[0] + 30
        bound = jnp.where(long, 10, 1).astype(dtype) * tolerance
        wanted = best > bound
        if sum_to_one:
            wanted = wanted | ~_any(used)
        settled = full & ~wanted & (_most(jnp.where(inside, jnp.abs(reduced), 0)) <= bound)
        room = _any(~used)
        entering = _first(offered >= best, places)
        free = _first(~used, slots)
        enters = full & wanted & room & ~done

        # One update of rank one either way: a column for the atom that enters, or the reflection of the columns after
        # which the row of the atom that leaves has one entry.
        image = _pull(root, jnp.where(used, gram[atoms, entering], 0))
        own = diagonal[entering]
        rest = jnp.maximum((1 + ridge) * own - _total(image * image), ridge * own)
        row = root[out[0], :, pixels[0]].T
        sign = jnp.where(row[out, pixels] < 0, -1, 1).astype(dtype)
        mirror = row + jnp.where(slots == out, sign * jnp.sqrt(_total(row * row)), 0)
        square = _total(mirror * mirror)
        product = _apply(root, jnp.where(full, image, mirror))
        arrives = slots == free
        left = jnp.where(full, (arrives.astype(dtype) - product) / jnp.sqrt(jnp.where(rest > 0, rest, 1)), product)
        right = jnp.where(full, arrives.astype(dtype), -2 * mirror / jnp.where(square > 0, square, 1))
        right = jnp.where(enters | (~full & ~done), right, 0)
        kept = ~dropped[:, None] & ~dropped[None, :]
        return _State(
            jnp.where(done, state.abundances, dense),
            jnp.where(done, state.slope, slope),
            jnp.where(arrives & enters, entering, atoms),
            jnp.where(done, state.used, used | (arrives & enters)),
            jnp.where(kept, root + left[:, None] * right[None, :], 0),
            done | settled,
            full & wanted & ~room & ~done,
            blocked,
            entering,
            state.num_steps + 1,
        )

    none = jnp.zeros((1, count), bool)
    state = _State(
        jnp.zeros_like(linear),
        linear,
        jnp.zeros((0, count), jnp.int32),
        jnp.zeros((0, count), bool),
        jnp.zeros((0, 0, count), dtype),
        none,
        none,
        jnp.zeros((size, count), bool),
        jnp.zeros((1, count), jnp.int32),
        jnp.asarray(0, jnp.int32),
    )
    rooms = sorted({min(room, size) for room in _ROOM})
    for room in rooms:
        more = room - state.used.shape[0]
        state = state._replace(
            atoms=jnp.pad(state.atoms, ((0, more), (0, 0))),
            used=jnp.pad(state.used, ((0, more), (0, 0))),
            root=jnp.pad(state.root, ((0, more), (0, more), (0, 0))),
            crowded=none,
        )

        def unfinished(state: _State, room: int = room) -> Array:
            # One pixel that needs more room ends this one's turn for all, but for the last.
            over = jnp.all(state.done | state.crowded)
            if room < rooms[-1]:
                over = over | jnp.any(state.crowded)
            return ~over & (state.num_steps < 12 * room + 50)

        state = while_loop(unfinished, step, state)
    weights = state.abundances
    if sum_to_one:
        weights = weights / _total(weights)
    return weights, state.done[0] & jnp.all(jnp.isfinite(weights), axis=0)


def _most(x: Array) -> Array:
    return jnp.max(x, axis=0, keepdims=True)


def _any(x: Array) -> Array:
    return jnp.any(x, axis=0, keepdims=True)


def _total(x: Array) -> Array:
    return jnp.sum(x, axis=0, keepdims=True)


def _first(mask: Array, positions: Array) -> Array:
    last = positions.shape[0] - 1
    return jnp.min(jnp.where(mask, positions, last), axis=0, keepdims=True).astype(jnp.int32)


def _apply(root: Array, x: Array) -> Array:
    return jnp.sum(root * x[None], axis=1)


def _pull(root: Array, x: Array) -> Array:
    return jnp.sum(root * x[:, None], axis=0)
