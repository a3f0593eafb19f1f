"""Coordinate descent for a quadratic loss on its Gram matrix, from one strength to the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .. import _tree
from .._loop import while_loop
from .._sequential import sequential
from .._types import IntScalar, Scalar
from ..penalties import AbstractPenalty
from ..solvers._working_set_inner import anderson_weights, MEMORY
from ..solvers._working_set_rows import row, rows_of, violations
from ..solvers._working_set_solve import lifted
from ._moments import Centered


class Descent(NamedTuple):
    """Where the descent is.

    Attributes:
        coef: the coefficients.
        slope: gradient of the quadratic there.
        primal, dual: bounds of the minimum from both sides.
        error: their distance relative to the first; without a dual bound the residual relative to the data.
        epochs: how many so far.
    """

    coef: Float[Array, "p *k"]
    slope: Float[Array, "p *k"]
    primal: Scalar
    dual: Scalar
    error: Scalar
    epochs: IntScalar


def _epoch(
    gram: Array, curvatures: Array, places: Int[Array, " p"], size: IntScalar, rows: AbstractPenalty, pair: Array
) -> Array:
    """Coefficients and slope after exact steps over the first `size` of the places."""
    leaves, structure = jax.tree.flatten(rows)

    def run(gram: Array, curvatures: Array, places: Array, size: IntScalar, pair: Array, *leaves: Array) -> Array:
        rows = jax.tree.unflatten(structure, leaves)
        at = lambda array, j: lax.dynamic_index_in_dim(array, j, 0, keepdims=False, allow_negative_indices=False)

        def update(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, slope = carry
            j = at(places, i)
            old, curvature = at(x, j), at(curvatures, j)
            new = row(rows, j).prox(old - at(slope, j) / curvature, 1 / curvature)
            column, change = at(gram, j), new - old
            moved = column * change if x.ndim == 1 else column[:, None] * change[None, :]
            return lax.dynamic_update_index_in_dim(x, new, j, 0, allow_negative_indices=False), slope + moved

        return jnp.stack(lax.fori_loop(jnp.zeros_like(size), size, update, (pair[0], pair[1])))

    return sequential(run)(gram, curvatures, places, size, pair, *leaves)


def descend(
    quadratic: Centered,
    penalty: AbstractPenalty,
    coef: Float[Array, "p *k"],
    slope: Float[Array, "p *k"],
    tol: Scalar,
    max_epochs: int,
    bounded: bool,
) -> Descent:
    """Minimize the quadratic plus the penalty from `coef`, where its gradient is `slope`.

    After `MEMORY` epochs over the rows that are not zero or violate optimality, their extrapolation is taken where the
    objective falls by it, and the rows are chosen anew. The slope of all rows goes along, so that neither the
    violations nor the duality gap cost a product.
    """
    gram, cross = quadratic.gram, quadratic.cross
    curvatures = lifted(jnp.diagonal(gram))
    rows = rows_of(penalty, jnp.arange(coef.shape[0]), coef.shape)
    scale = _tree.norm(cross)
    scale = jnp.where(scale > 0, scale, 1)

    def value(coef: Array, slope: Array) -> Scalar:
        return (_tree.vdot(coef, slope - cross) + quadratic.square) / 2 + penalty.value(coef)

    def looked(coef: Array, slope: Array, epochs: IntScalar) -> tuple[Descent, Array]:
        found = violations(rows, coef, slope, curvatures)
        primal = value(coef, slope)
        if not bounded:
            error = _tree.norm(found) / scale
            return Descent(coef, slope, primal, jnp.full_like(primal, -jnp.inf), error, epochs), found
        # Residuals r = y - X w, their mean square and their product with y, from the moments.
        product = quadratic.square - _tree.vdot(cross, coef)
        square = jnp.maximum(product + _tree.vdot(coef, slope), 0)
        factor = penalty.dual_scale(-slope)
        dual = factor * (product - factor * square / 2) - penalty.conjugate(-factor * slope)
        dual = jnp.where(jnp.isnan(dual), -jnp.inf, dual)
        tiny = float(jnp.finfo(primal.dtype).tiny)
        error = jnp.maximum(primal - dual, 0) / jnp.maximum(jnp.abs(primal), tiny)
        return Descent(coef, slope, primal, dual, error, epochs), found

    def advance(carry: tuple[Descent, Array]) -> tuple[Descent, Array]:
        at, found = carry
        mask = (found > 0) | (at.coef != 0).reshape(at.coef.shape[0], -1).any(1)
        places = jnp.nonzero(mask, size=mask.size, fill_value=0)[0].astype(jnp.int32)
        size = jnp.sum(mask, dtype=jnp.int32)

        def epoch(carry: tuple[Array, Array, Descent, Array]) -> tuple[Array, Array, Descent, Array]:
            iterates, count, at, _ = carry
            pair = _epoch(gram, curvatures, places, size, rows, jnp.stack([at.coef, at.slope]))
            iterates = lax.dynamic_update_index_in_dim(iterates, pair, count + 1, 0)
            return iterates, count + 1, *looked(pair[0], pair[1], at.epochs + 1)

        def goes_on(carry: tuple[Array, Array, Descent, Array]) -> Array:
            return ~(carry[2].error <= tol) & (carry[1] < MEMORY)

        pair = jnp.stack([at.coef, at.slope])
        iterates = jnp.zeros((MEMORY + 1, *pair.shape), pair.dtype).at[0].set(pair)
        iterates, _, at, found = while_loop(goes_on, epoch, (iterates, jnp.zeros((), jnp.int32), at, found))

        def mix(at: Descent) -> tuple[Descent, Array]:
            mixed = jnp.tensordot(anderson_weights(iterates[:, 0]), iterates[1:], 1)
            better = value(mixed[0], mixed[1]) < at.primal
            new = jnp.where(better, mixed, jnp.stack([at.coef, at.slope]))
            return looked(new[0], new[1], at.epochs)

        return lax.cond(at.error <= tol, lambda at: (at, found), mix, at)

    def continues(carry: tuple[Descent, Array]) -> Array:
        return ~(carry[0].error <= tol) & (carry[0].epochs < max_epochs)

    return while_loop(continues, advance, looked(coef, slope, jnp.zeros((), jnp.int32)))[0]
