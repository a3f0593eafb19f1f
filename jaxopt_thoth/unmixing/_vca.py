from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree
from .._types import BoolScalar, Scalar
from ._checks import as_mask, as_pixels, check_count, require_finite_pixels
from ._pixel_groups import pixel_at


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def vca(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    mask: ArrayLike | None = None,
    snr_db: ArrayLike | None = None,
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """Endmembers by vertex component analysis: extremes of the pixels along random directions.

    Each direction is drawn orthogonal to the vertices found so far. Below 15 + 10 log10(p) decibels the pixels are
    projected on p - 1 principal components, above it on p and then in perspective, where pixels too dark to tell
    their direction from the noise are never selected. The result depends on the key: `jax.vmap` over keys and keep
    the best. The derivative passes through the selected pixels with the subspace held fixed. Memory: O(p N + L^2)
    beyond the pixels (one copy of them when there is a mask).

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels.
        key: key of the random directions.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        snr_db: signal-to-noise ratio in decibels; None estimates it (infinite when there is no noise at all).

    Returns:
        Endmembers (L, p), the selected pixels projected on the signal subspace as published (`pixels[:, indices]`
        has them unprojected), and their indices (p,), both in the order of selection.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, or
            `num_endmembers` is out of range.

    Source: J. Nascimento, J. Bioucas-Dias, "Vertex component analysis: a fast algorithm to unmix hyperspectral
    data", 2005.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=16, width=16, num_bands=30)
        >>> endmembers, indices = vca(scene.pixels, 3, key=jax.random.key(1), mask=scene.mask)
        >>> endmembers.shape, indices.shape
        ((30, 3), (3,))
    """
    values = as_pixels(pixels)
    valid = as_mask(mask, values.shape[1])
    require_finite_pixels(values, valid)
    check_count(num_endmembers, 2, values, valid)
    if num_endmembers > values.shape[0]:
        raise ValueError(f"num_endmembers must be at most the number of bands {values.shape[0]}, got {num_endmembers}.")
    if mask is not None:
        values = jnp.where(valid[None, :], values, 0)
    snr = None if snr_db is None else jnp.asarray(snr_db, values.dtype)
    return _vca(values, valid, snr, key, num_endmembers)


class _Subspace(NamedTuple):
    offset: Float[Array, " L"]
    basis: Float[Array, "L p"]
    is_noisy: BoolScalar
    noise: Scalar


@partial(jax.jit, static_argnames="count")
def _vca(
    pixels: Float[Array, "L N"], valid: Bool[Array, " N"], snr: Scalar | None, key: PRNGKeyArray, count: int
) -> tuple[Array, Array]:
    space = _subspace(jax.lax.stop_gradient(pixels), valid, snr, count)
    coordinates = _matmul(space.basis.T, pixels) - _matmul(space.basis.T, space.offset)[:, None]
    cone, candidates = _cone(jax.lax.stop_gradient(coordinates), valid, space)
    indices = _extremes(cone, candidates, key)
    return _matmul(space.basis, coordinates[:, indices]) + space.offset[:, None], indices


def _subspace(pixels: Float[Array, "L N"], valid: Bool[Array, " N"], snr: Scalar | None, count: int) -> _Subspace:
    """Signal subspace by the estimated noise: centered with p - 1 directions (the last column zero), or linear."""
    bands, dtype = pixels.shape[0], pixels.dtype
    total = jnp.sum(valid).astype(dtype)
    mean = jnp.sum(pixels, axis=1) / total
    correlation = _matmul(pixels, pixels.T) / total
    centered, scatter = leading_eigenvectors(correlation - mean[:, None] * mean[None, :], count)
    linear, _ = leading_eigenvectors(correlation, count)

    power = jnp.trace(correlation)
    residual = jnp.maximum(jnp.trace(correlation) - jnp.sum(mean * mean) - jnp.sum(scatter), 0)
    if snr is None:
        signal = power - residual - power * (count / bands)
        noiseless = residual <= 10 * bands * jnp.finfo(dtype).eps * power
        ratio = jnp.maximum(signal, 0) / jnp.where(noiseless, 1, residual)
        snr = jnp.where(noiseless, jnp.inf, 10 * jnp.log10(ratio))
    is_noisy = snr < 15 + 10 * jnp.log10(jnp.asarray(count, dtype))
    return _Subspace(
        offset=jnp.where(is_noisy, mean, 0),
        basis=jnp.where(is_noisy, centered.at[:, -1].set(0), linear),
        is_noisy=is_noisy,
        noise=jnp.sqrt(residual / max(bands - count, 1)),
    )


def leading_eigenvectors(matrix: Float[Array, "L L"], count: int) -> tuple[Float[Array, "L p"], Float[Array, " p"]]:
    """Top eigenvectors in descending order, signed so that the sums are positive on every machine."""
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    top = vectors[:, ::-1][:, :count]
    return top * jnp.where(jnp.sum(top, axis=0) < 0, -1, 1).astype(top.dtype)[None, :], eigenvalues[::-1][:count]


def _cone(coordinates: Float[Array, "p N"], valid: Bool[Array, " N"], space: _Subspace) -> tuple[Array, Array]:
    """Pixels as vectors whose extreme directions are the endmembers, and which of them may be selected."""
    squared = jnp.sum(jnp.square(coordinates), axis=0)
    lift = jnp.sqrt(jnp.max(jnp.where(valid, squared, 0)))
    lifted = coordinates.at[-1].set(lift)

    mean = jnp.sum(jnp.where(valid[None, :], coordinates, 0), axis=1) / jnp.sum(valid).astype(coordinates.dtype)
    size = _tree.norm(mean)
    brightness = _matmul(mean, coordinates)
    floor = size * jnp.clip(5 * space.noise, 1e-3 * size, 0.1 * size)
    bright = brightness > floor
    perspective = coordinates / jnp.where(bright, brightness, 1)[None, :]
    return jnp.where(space.is_noisy, lifted, perspective), valid & (space.is_noisy | bright)


def _extremes(cone: Float[Array, "p N"], candidates: Bool[Array, " N"], key: PRNGKeyArray) -> Int[Array, " p"]:
    """Pixels extreme along random directions, each orthogonal to the pixels before it (the first to the last axis)."""
    count = cone.shape[0]
    draws = jax.random.uniform(key, (count, count), cone.dtype)

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        indices, vertices, free = carry
        direction = _orthogonal(draws[k], vertices)
        chosen = jnp.argmax(jnp.where(free, jnp.abs(_matmul(direction, cone)), -jnp.inf))
        # Column 0 holds the last axis until the first pixel takes its place, as published.
        vertex = _orthogonal(pixel_at(cone, chosen), jnp.where(k == 0, 0, vertices))
        norm = _tree.norm(vertex)
        return (
            indices.at[k].set(chosen),
            vertices.at[:, k].set(vertex / jnp.where(norm > 0, norm, 1)),
            free.at[chosen].set(False),
        )

    start = jnp.zeros((count, count), cone.dtype).at[-1, 0].set(1)
    indices, *_ = jax.lax.fori_loop(0, count, step, (jnp.zeros(count, int), start, candidates))
    return indices


def _orthogonal(vector: Float[Array, " p"], basis: Float[Array, "p p"]) -> Float[Array, " p"]:
    """The part of a vector orthogonal to orthonormal (or zero) columns; the second pass removes rounding."""
    for _ in range(2):
        vector = vector - _matmul(basis, _matmul(basis.T, vector))
    return vector
