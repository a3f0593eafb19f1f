import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ._archetypes import ArchetypeStart
from ._scaled_pixels import ScaledPixels
from ._vca import leading_eigenvectors, vca


# Inverse temperatures of the softened vertices, for pixels of unit norm: from a few hundred pixels a vertex to a few.
_SHARPNESS = (20.0, 300.0)


def soft_vertices(pixels: ScaledPixels, num_endmembers: int, *, keys: PRNGKeyArray) -> ArchetypeStart:
    """Starts near the corners of the data: averages of pixels around vertices that VCA finds in random halves of them.

    Each run draws its own half of the pixels, its own directions, its own sharpness and a step factor of 1, 2 or 4. A
    pixel that is a corner only by accident is in half of the runs at most, and a consensus of the runs outvotes it.
    """
    valid = pixels.scale > 0
    subspace, _ = leading_eigenvectors(pixels.gram(), num_endmembers)
    coordinates = pixels.project(subspace)
    enough = jnp.sum(valid) >= 20 * num_endmembers
    sizes = jnp.sum(coordinates * coordinates, axis=0)
    low, high = _SHARPNESS

    def one(key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        half, directions, softness, step = jax.random.split(key, 4)
        drawn = valid & (jax.random.bernoulli(half, 0.5, valid.shape) | ~enough)
        _, indices = vca(coordinates, num_endmembers, key=directions, mask=drawn)
        dtype = coordinates.dtype
        sharpness = low * (high / low) ** jax.random.uniform(softness, (), dtype)
        factor = 2.0 ** jax.random.randint(step, (), 0, 3).astype(dtype)
        # Relative to the size of the vertex, so that the unit of the pixels does not matter.
        return indices, sharpness / sizes[indices], factor

    # One after another: together they would hold the coordinates of all runs.
    indices, sharpness, factor = jax.lax.map(one, keys)
    offset = jnp.where(valid, 0, -jnp.inf).astype(sizes.dtype)[None, None, :]
    return ArchetypeStart(pixels.take(indices) * sharpness[None], offset, sharpness, factor)


def uniform_start(pixels: ScaledPixels, num_endmembers: int, *, keys: PRNGKeyArray) -> ArchetypeStart:
    """The published start: nearly equal weights for all pixels, and a step factor of 2^k, k uniform from -3 to 3."""
    bands, count = pixels.values.shape
    dtype = pixels.values.dtype

    def one(key: PRNGKeyArray) -> tuple[Array, Array]:
        noise, step = jax.random.split(key)
        offset = 0.1 * jax.random.uniform(noise, (num_endmembers, count), dtype)
        return offset, 2.0 ** jax.random.randint(step, (), -3, 4).astype(dtype)

    offset, factor = jax.vmap(one)(keys)
    return ArchetypeStart(
        dual=jnp.zeros((bands, keys.shape[0], num_endmembers), dtype),
        offset=jnp.where((pixels.scale > 0)[None, None, :], offset, -jnp.inf),
        sharpness=jnp.zeros((keys.shape[0], num_endmembers), dtype),
        step_factor=factor,
    )
