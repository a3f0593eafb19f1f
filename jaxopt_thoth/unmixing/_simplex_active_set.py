"""Quadratic programs over the unit simplex by an active set, one small program per right-hand side."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._loop import while_loop
from .._types import BoolScalar, IntScalar
from ._face_system import curvature, positive_on_simplex
from ._pixel_groups import map_pixels


_PIXELS_AT_ONCE = 4096


@jax.jit
def solve_by_active_set(gram: Float[Array, "p p"], cross: Float[Array, "p N"]) -> Float[Array, "p N"]:
    """Minimizers (p, N) of `a' G a / 2 - f' a` over the simplex, for centered G and columns f.

    Starts at the best vertex; adds the vertex of the most negative reduced gradient; where the solution on the
    enlarged face leaves the simplex, steps to the boundary and drops what reached it. A ridge of 10 rounding units
    of the mean diagonal keeps the systems of duplicate endmembers definite. Works through 4096 pixels at once.
    """
    size = gram.shape[0]
    scale = curvature(gram)
    eps = jnp.finfo(gram.dtype).eps
    identity = jnp.eye(size, dtype=gram.dtype)
    system = (positive_on_simplex(gram) + 10 * size * eps * scale * identity) / scale

    def solve(linear: Float[Array, " p"]) -> Float[Array, " p"]:
        return solve_one(gram / scale, system, linear / scale)

    return map_pixels(solve, cross.T, _PIXELS_AT_ONCE).T


class _State(NamedTuple):
    weights: Float[Array, " p"]
    inside: Bool[Array, " p"]
    blocked: Bool[Array, " p"]
    entering: IntScalar
    done: BoolScalar
    num_steps: IntScalar


def solve_one(gram: Float[Array, "p p"], system: Float[Array, "p p"], linear: Float[Array, " p"]) -> Array:
    size = linear.shape[0]
    eps = jnp.finfo(linear.dtype).eps
    tolerance = 10 * size * eps * (1 + jnp.max(jnp.abs(linear)))
    vertex = jnp.argmin(jnp.diagonal(gram) / 2 - linear)
    first = jnp.arange(size) == vertex

    def step(state: _State) -> _State:
        target = _solve_on_face(system, linear, state.inside)
        leaving = state.inside & (target <= 0)
        leaves = jnp.any(leaving)

        # Either part-way to the target, up to the first weight that reaches zero ...
        gap = jnp.where(leaving, state.weights - target, 1)
        ratios = jnp.where(leaving, state.weights / jnp.where(gap > 0, gap, 1), jnp.inf)
        length = jnp.where(leaves, jnp.minimum(jnp.min(ratios), 1), 1)
        weights = jnp.where(state.inside, state.weights + length * (target - state.weights), 0)
        dropped = leaving & ((ratios <= length) | (weights <= 0))
        weights = jnp.where(dropped, 0, weights)
        inside = state.inside & ~dropped
        # Only rounding drops a vertex at the very step it entered: it is not offered again.
        blocked = state.blocked | (dropped & (jnp.arange(size) == state.entering) & (length == 0))

        # ... or at the target, where a vertex of negative reduced gradient enters.
        gradient = jnp.matmul(gram, weights, precision=jax.lax.Precision.HIGHEST) - linear
        level = jnp.sum(jnp.where(inside, gradient, 0)) / jnp.maximum(jnp.sum(inside), 1).astype(linear.dtype)
        reduced = jnp.where(inside | blocked, jnp.inf, gradient - level)
        entering = jnp.argmin(reduced)
        enters = ~leaves & (reduced[entering] < -tolerance)
        return _State(
            weights,
            inside | (enters & (jnp.arange(size) == entering)),
            blocked,
            jnp.where(enters, entering, state.entering),
            ~leaves & ~enters,
            state.num_steps + 1,
        )

    start = _State(
        first.astype(linear.dtype), first, jnp.zeros(size, bool), vertex, jnp.asarray(False), jnp.asarray(0, jnp.int32)
    )
    # Every vertex enters and leaves a few times at most; the bound only ends what rounding might cycle.
    end = while_loop(lambda state: ~state.done & (state.num_steps < 10 * size + 20), step, start)
    return end.weights / jnp.sum(end.weights)


def _solve_on_face(system: Float[Array, "p p"], linear: Float[Array, " p"], inside: Bool[Array, " p"]) -> Array:
    """Minimizer over the affine hull of the face, zero outside of it."""
    identity = jnp.eye(linear.shape[0], dtype=linear.dtype)
    face = jnp.where(inside[:, None] & inside[None, :], system, identity)
    members = inside.astype(linear.dtype)
    factor = jnp.linalg.cholesky(face)
    right = jnp.stack([linear * members, members], axis=1)
    free, towards = jax.scipy.linalg.cho_solve((factor, True), right).T
    return free + towards * (1 - jnp.sum(free)) / jnp.sum(towards)
