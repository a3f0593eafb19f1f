from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .. import _tree
from .._types import Scalar


_RESTARTS, _STEPS = 8, 40


@partial(jax.jit, static_argnames=("num_clusters",))
def spherical_clusters(spectra: Float[Array, "L M"], num_clusters: int, key: PRNGKeyArray) -> Int[Array, " M"]:
    """Cluster of each spectrum by k-means on the sphere: the total cosine to the directions of the clusters is large.

    The best of several starts, each from a random spectrum and then those of largest angle to the ones before.
    """
    sizes = _tree.safe_sqrt(jnp.sum(spectra * spectra, axis=0))
    unit = spectra / jnp.where(sizes > 0, sizes, 1)[None, :]
    cosines = lambda directions: jnp.matmul(directions.T, unit, precision="highest")

    def start(first: Array) -> Float[Array, "L k"]:
        def choose(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            directions, nearest = carry
            chosen = unit[:, jnp.argmin(nearest)]
            directions = directions.at[:, k].set(chosen)
            return directions, jnp.maximum(nearest, jnp.matmul(chosen, unit, precision="highest"))

        directions = jnp.zeros((unit.shape[0], num_clusters), unit.dtype).at[:, 0].set(unit[:, first])
        nearest = jnp.matmul(unit[:, first], unit, precision="highest")
        return jax.lax.fori_loop(1, num_clusters, choose, (directions, nearest))[0]

    def step(_: Array, directions: Array) -> Array:
        members = jax.nn.one_hot(jnp.argmax(cosines(directions), axis=0), num_clusters, dtype=unit.dtype)
        sums = jnp.matmul(unit, members, precision="highest")
        lengths = _tree.safe_sqrt(jnp.sum(sums * sums, axis=0))[None, :]
        # A cluster that lost all its spectra stays where it was.
        return jnp.where(lengths > 0, sums / jnp.where(lengths > 0, lengths, 1), directions)

    def run(first: Array) -> tuple[Scalar, Array]:
        directions = jax.lax.fori_loop(0, _STEPS, step, start(first))
        found = cosines(directions)
        return jnp.sum(jnp.max(found, axis=0)), jnp.argmax(found, axis=0)

    firsts = jax.random.randint(key, (_RESTARTS,), 0, unit.shape[1])
    totals, groups = jax.vmap(run)(firsts)
    return groups[jnp.argmax(totals)]
