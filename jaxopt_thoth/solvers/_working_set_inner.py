"""Coordinate descent on a quadratic model of few rows, by its Gram matrix, with Anderson acceleration."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .. import _tree
from .._loop import while_loop
from .._sequential import sequential
from .._types import IntScalar, Scalar
from ..penalties import AbstractPenalty
from ._working_set_rows import row, row_values, violations


MEMORY = 5
# Epochs of descent at most, in rounds of `MEMORY`.
_MAX_ROUNDS = 200


def epoch(
    gram: Array, curvatures: Array, size: IntScalar, rows: AbstractPenalty, pair: Float[Array, "2 m *k"]
) -> Float[Array, "2 m *k"]:
    """The variable and the gradient of the model after one cyclic pass of exact steps over the slots below `size`."""
    leaves, structure = jax.tree.flatten(rows)

    def run(gram: Array, curvatures: Array, size: IntScalar, pair: Array, *leaves: Array) -> Array:
        rows = jax.tree.unflatten(structure, leaves)
        at = lambda array, j: lax.dynamic_index_in_dim(array, j, 0, keepdims=False, allow_negative_indices=False)

        # XLA computes no quotient twice. Without one, it finds each new entry again for the gradient, and on a CPU
        # copies the variable to do so: twice the time on 1000 slots, four times on 100.
        one = jnp.where(size < 0, 2, jnp.ones((), pair.dtype))

        def update(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, slope = carry
            old, curvature = at(x, j), at(curvatures, j)
            new = row(rows, j).prox(old - at(slope, j) / curvature, 1 / curvature) / one
            column = at(gram, j)
            change = new - old
            moved = column * change if x.ndim == 1 else column[:, None] * change[None, :]
            return lax.dynamic_update_index_in_dim(x, new, j, 0, allow_negative_indices=False), slope + moved

        return jnp.stack(lax.fori_loop(jnp.zeros_like(size), size, update, (pair[0], pair[1])))

    return sequential(run)(gram, curvatures, size, pair, *leaves)


def minimize_model(
    gram: Float[Array, "m m"],
    curvatures: Float[Array, " m"],
    size: IntScalar,
    rows: AbstractPenalty,
    start: Float[Array, "m *k"],
    gradient: Float[Array, "m *k"],
    tolerance: Scalar,
) -> Float[Array, "m *k"]:
    """Minimize `<gradient, x - start> + <x - start, G (x - start)> / 2 + penalty(x)` over the slots below `size`.

    Rounds of `MEMORY` epochs end with the affine combination of their iterates whose residuals cancel best, taken where
    the model falls by it. The rounds end once no row violates optimality by more than `tolerance`.
    """
    inside = jnp.arange(start.shape[0], dtype=jnp.int32) < size

    def worst(pair: Array) -> Scalar:
        found = violations(rows, pair[0], pair[1], curvatures)
        return jnp.max(jnp.where(inside, found, 0), initial=0)

    def value(pair: Array) -> Scalar:
        # The gradient of the model is known along, so that its value needs no product with the Gram matrix.
        return _tree.vdot(pair[0] - start, pair[1] + gradient) / 2 + row_values(rows, pair[0], inside)

    def advance(carry: tuple[Array, Scalar, Array]) -> tuple[Array, Scalar, Array]:
        pair, _, rounds = carry

        def one(pair: Array, _: None) -> tuple[Array, Array]:
            new = epoch(gram, curvatures, size, rows, pair)
            return new, new

        last, later = lax.scan(one, pair, length=MEMORY)
        mixed = jnp.tensordot(anderson_weights(jnp.concatenate([pair[None, 0], later[:, 0]])), later, 1)
        better = value(mixed) < value(last)
        new = jnp.where(better, mixed, last)
        return new, worst(new), rounds + 1

    def continues(carry: tuple[Array, Scalar, Array]) -> Array:
        return (carry[1] > tolerance) & (carry[2] < _MAX_ROUNDS)

    first = jnp.stack([start, gradient])
    return while_loop(continues, advance, (first, worst(first), jnp.zeros((), jnp.int32)))[0][0]


def anderson_weights(points: Float[Array, "k+1 ..."]) -> Float[Array, " k"]:
    """Weights of sum one for the last k of k + 1 iterates, under which their moves cancel best."""
    moves = (points[1:] - points[:-1]).reshape(points.shape[0] - 1, -1)
    scale = jnp.max(jnp.abs(moves))
    moves = moves / jnp.where(scale > 0, scale, 1)
    products = jnp.matmul(moves, moves.T, precision=lax.Precision.HIGHEST)
    # Moves that are nearly parallel, or zero, leave the system singular.
    floor = 1e2 * float(jnp.finfo(moves.dtype).eps) * jnp.trace(products)
    ridge = jnp.where(floor > 0, floor, 1) * jnp.eye(moves.shape[0], dtype=moves.dtype)
    weights = jnp.linalg.solve(products + ridge, jnp.ones(moves.shape[0], moves.dtype))
    total = jnp.sum(weights)
    last = jnp.zeros_like(weights).at[-1].set(1)
    return jnp.where(total != 0, weights / jnp.where(total != 0, total, 1), last)
