from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar
from ._fclsu import fclsu


# Pixels in the working set: more than an endmember is made of, few enough for an exact solution in no time.
_WORKING_SET = 30
_MOST_ROUNDS = 100


class _State(NamedTuple):
    weights: Float[Array, " N"]
    spectrum: Float[Array, " L"]
    distance: Scalar
    done: BoolScalar
    rounds: IntScalar


def combine_pixels(
    pixels: Float[Array, "L N"], used: Bool[Array, " N"], target: Float[Array, " L"], start: Float[Array, " N"]
) -> tuple[Float[Array, " N"], Float[Array, " L"]]:
    """The weights on the simplex whose combination of the used pixels is nearest to `target`, and that combination.

    Simplicial decomposition: a working set of 30 holds the pixels in use and those of the lowest reduced gradient, on
    which the problem is solved exactly. The distance never rises from that of `start`, and at the end no pixel left out
    lowers it. Two products with the pixels a round, no matrix of the size N by N.

    Source: B. von Hohenbalken, "Simplicial decomposition in nonlinear programming algorithms", 1977.
    """
    size = min(_WORKING_SET, pixels.shape[1])
    eps = jnp.finfo(pixels.dtype).eps
    tolerance = 100 * eps * jnp.max(jnp.sum(pixels**2, axis=0))

    def round_(state: _State) -> _State:
        residual = state.spectrum - target
        gradient = jnp.where(used, jnp.matmul(residual, pixels, precision="highest"), jnp.inf)
        violation = jnp.vdot(residual, state.spectrum, precision="highest") - jnp.min(gradient)
        chosen = jax.lax.top_k(jnp.where(state.weights > 0, jnp.inf, -gradient), size)[1]
        # Pixels out of use may fill up the set where there are few others: as copies of the first they change nothing.
        chosen = jnp.where(used[chosen], chosen, chosen[0])
        found = fclsu(target[:, None], pixels[:, chosen])[:, 0]
        weights = jnp.zeros_like(state.weights).at[chosen].add(found)
        spectrum = jnp.matmul(pixels[:, chosen], found, precision="highest")
        distance = _tree.norm(spectrum - target)
        # Only rounding, or more pixels in use than the set holds, could let the distance rise.
        better = (violation > tolerance) & (distance < state.distance)
        return _State(
            jnp.where(better, weights, state.weights),
            jnp.where(better, spectrum, state.spectrum),
            jnp.where(better, distance, state.distance),
            ~better,
            state.rounds + 1,
        )

    spectrum = jnp.matmul(pixels, start, precision="highest")
    first = _State(start, spectrum, _tree.norm(spectrum - target), jnp.asarray(False), jnp.asarray(0, jnp.int32))
    end = while_loop(lambda state: ~state.done & (state.rounds < _MOST_ROUNDS), round_, first)
    return end.weights, end.spectrum
