"""The loop that ATGP and SiVM share: take the farthest pixel, remove its direction, repeat."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree
from ._checks import as_mask, as_pixels, check_count
from ._pixel_groups import pixel_at


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def farthest_pixels(
    pixels: ArrayLike, num_endmembers: int, mask: ArrayLike | None, *, affine: bool
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """The selected pixels and their indices, in the order of selection; raises `ValueError` on bad arguments."""
    values = as_pixels(pixels)
    valid = as_mask(mask, values.shape[1])
    check_count(num_endmembers, 1, values, valid)
    indices = _select(values, valid, count=num_endmembers, affine=affine)
    return values[:, indices], indices


@partial(jax.jit, static_argnames=("count", "affine"))
def _select(pixels: Float[Array, "L N"], mask: Bool[Array, " N"], *, count: int, affine: bool) -> Int[Array, " p"]:
    """Indices of `count` pixels, each the farthest from the span (or the affine hull) of those before it.

    Squared distances (N,) are updated by one product `u' Y` a step, u the new orthonormal direction.
    """
    norms = jnp.sum(jnp.square(pixels), axis=0)
    first = _longest(pixels, norms, mask)
    origin = pixel_at(pixels, first) if affine else jnp.zeros_like(pixels[:, 0])
    # Not expanded into norms and products, which would cancel; compiled, the difference is never stored.
    distances = jnp.sum(jnp.square(pixels - origin[:, None]), axis=0)

    def step(k: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        indices, directions, distances, free = carry
        chosen = jnp.where(k == 0, first, _farthest(distances, free))
        direction = pixel_at(pixels, chosen) - origin
        # Twice is enough: the second pass removes what rounding left of the first.
        for _ in range(2):
            direction = direction - _matmul(directions, _matmul(directions.T, direction))
        norm = _tree.norm(direction)
        direction = direction / jnp.where(norm > 0, norm, 1)
        heights = _matmul(direction, pixels) - _matmul(direction, origin)
        return (
            indices.at[k].set(chosen),
            directions.at[:, k].set(direction),
            jnp.maximum(distances - jnp.square(heights), 0),
            free.at[chosen].set(False),
        )

    indices = jnp.zeros(count, first.dtype).at[0].set(first)
    directions = jnp.zeros((pixels.shape[0], count), pixels.dtype)
    free = mask.at[first].set(False) if affine else mask
    indices, *_ = jax.lax.fori_loop(int(affine), count, step, (indices, directions, distances, free))
    return indices


def _longest(pixels: Float[Array, "L N"], norms: Float[Array, " N"], mask: Bool[Array, " N"]) -> Int[Array, ""]:
    """The pixel of largest norm; among equals up to rounding, as after normalization, the farthest from the mean.

    Rounding alone must not choose, and of unit pixels the farthest from the mean is a vertex of their cone.
    """
    mean = jnp.sum(jnp.where(mask[None, :], pixels, 0), axis=1) / jnp.sum(mask).astype(pixels.dtype)
    largest = jnp.max(jnp.where(mask, norms, -jnp.inf))
    ties = mask & (norms >= largest * (1 - 1000 * jnp.finfo(norms.dtype).eps))
    return _farthest(norms - 2 * _matmul(mean, pixels), ties)


def _farthest(distances: Float[Array, " N"], allowed: Bool[Array, " N"]) -> Int[Array, ""]:
    return jnp.argmax(jnp.where(allowed, distances, -jnp.inf))
