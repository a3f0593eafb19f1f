from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import _tree
from .._types import Scalar
from ..losses import Huber
from ._alternate import alternate, Descent
from ._fclsu import fclsu
from ._pixel_simplex import combine_pixels


class ArchetypalFactors(NamedTuple):
    """Weights B of the pixels, the endmembers Y B, abundances A, and the norms of the columns of `Y - Y B A`."""

    weights: Float[Array, "N p"]
    endmembers: Float[Array, "L p"]
    abundances: Float[Array, "p N"]
    distances: Float[Array, " N"]


@partial(jax.jit, static_argnames="max_steps")
def archetypal_descent(
    pixels: Float[Array, "L N"],
    used: Bool[Array, " N"],
    first: Int[Array, " p"],
    tol: Scalar,
    epsilon: Scalar | None,
    *,
    max_steps: int,
) -> Descent:
    """Archetypes from pixels `first`: each weight vector exactly in turn, then all abundances exactly.

    With an `epsilon` the objective is the sum of Huber's losses of the distances, over epsilon, and each sweep lowers a
    quadratic that majorizes it, in which a pixel counts by one over its distance or epsilon, whichever is larger.
    """
    count, p = pixels.shape[1], first.shape[0]
    tiny = jnp.finfo(pixels.dtype).tiny

    def fit(weights: Array, endmembers: Array) -> ArchetypalFactors:
        abundances = fclsu(pixels, endmembers)
        residual = pixels - jnp.matmul(endmembers, abundances, precision="highest")
        distances = _tree.safe_sqrt(jnp.sum(residual**2, axis=0))
        return ArchetypalFactors(weights, endmembers, abundances, jnp.where(used, distances, 0))

    def loss(distances: Array) -> Scalar:
        if epsilon is None:
            return jnp.sum(distances**2) / 2
        return jnp.sum(Huber(epsilon)(distances, jnp.zeros_like(distances))) / epsilon

    def sweep(state: ArchetypalFactors) -> tuple[ArchetypalFactors, Scalar]:
        importance = used.astype(pixels.dtype)
        if epsilon is not None:
            importance = importance / jnp.maximum(state.distances, epsilon)
        weighted = state.abundances * importance[None, :]
        products = jnp.matmul(pixels, weighted.T, precision="highest")
        squares = jnp.matmul(weighted, state.abundances.T, precision="highest")

        def one(carry: tuple[Array, Array], j: Array) -> tuple[tuple[Array, Array], None]:
            weights, endmembers = carry
            slope = products[:, j] - jnp.matmul(endmembers, squares[:, j], precision="highest")
            # An endmember that no pixel uses stays.
            move = jnp.where(squares[j, j] > tiny, slope / jnp.maximum(squares[j, j], tiny), 0)
            column, spectrum = combine_pixels(pixels, used, endmembers[:, j] + move, weights[:, j])
            return (weights.at[:, j].set(column), endmembers.at[:, j].set(spectrum)), None

        (weights, endmembers), _ = jax.lax.scan(one, (state.weights, state.endmembers), jnp.arange(p))
        new = fit(weights, endmembers)
        return new, loss(new.distances)

    start = fit(jnp.zeros((count, p), pixels.dtype).at[first, jnp.arange(p)].set(1), pixels[:, first])
    return alternate(sweep, start, loss(start.distances), tol, max_steps)
