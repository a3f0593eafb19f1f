from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._loop import while_loop
from .._types import IntScalar, Scalar
from ._face_system import curvature
from ._simplex_active_set import solve_by_active_set


# Atoms in the working set: beyond what one endmember is made of, small enough for a factorization in no time.
_WORKING_SET = 20
_MOST_ROUNDS = 60


class _State(NamedTuple):
    weights: Float[Array, " M"]
    gradient: Float[Array, " M"]
    violation: Scalar
    rounds: IntScalar


def combine_atoms(
    gram: Float[Array, "M M"], cross: Float[Array, " M"], start: Float[Array, " M"]
) -> Float[Array, " M"]:
    """The minimizer of `b' G b / 2 - f' b` over the unit simplex of a whole library, exact and from a warm start.

    Simplicial decomposition: a working set of 20 atoms holds those in use and those of the lowest reduced gradient, and
    the small problem on it is solved exactly by the active set; the objective falls at each round, and no atom left
    out improves it at the end. A start that is not in the simplex only says which atoms to take first.

    Source: B. von Hohenbalken, "Simplicial decomposition in nonlinear programming algorithms", 1977.
    """
    size = min(_WORKING_SET, cross.shape[0])
    scale = curvature(gram)
    eps = jnp.finfo(gram.dtype).eps

    def slope(weights: Array) -> Array:
        return jnp.matmul(gram, weights, precision="highest") - cross

    def round_(state: _State) -> _State:
        used = state.weights > 0
        chosen = jax.lax.top_k(jnp.where(used, jnp.inf, -state.gradient), size)[1]
        small = gram[chosen][:, chosen]
        # Centering as in fclsu_gram: the minimizers stay, the common part of large entries goes.
        mean = jnp.mean(small, axis=1)
        centered = small - mean[:, None] - mean[None, :] + jnp.mean(mean)
        shifted = cross[chosen] - mean
        shifted = shifted - jnp.mean(shifted)
        found = solve_by_active_set(centered, shifted[:, None])[:, 0]
        weights = jnp.zeros_like(state.weights).at[chosen].set(found)
        gradient = slope(weights)
        level = jnp.vdot(weights, gradient, precision="highest")
        return _State(weights, gradient, level - jnp.min(gradient), state.rounds + 1)

    tolerance = 100 * eps * (scale + jnp.max(jnp.abs(cross)))

    def unfinished(state: _State) -> Array:
        return (state.violation > tolerance) & (state.rounds < _MOST_ROUNDS)

    first = _State(start, slope(start), jnp.asarray(jnp.inf, gram.dtype), jnp.asarray(0, jnp.int32))
    return while_loop(unfinished, round_, first).weights
