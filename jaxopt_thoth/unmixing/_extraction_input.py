"""What the extractors on a simplex of pixels share: checks, coordinates of unit covariance, vertices to start from."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree, _validate
from ._checks import as_mask, as_pixels, check_count, require_finite_pixels
from ._greedy_pixels import farthest_pixels
from ._pixel_blocks import covariance, mean_pixel


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Whitened(NamedTuple):
    """Valid pixels as `mean + basis @ coordinates`, exact up to what lies outside of the principal components.

    Coordinates (d, N) have mean zero and unit covariance, and are zero at masked pixels; `spread` (d,) are standard
    deviations along the components, and `unit` the size that rounding is measured by.
    """

    coordinates: Float[Array, "d N"]
    mean: Float[Array, " L"]
    basis: Float[Array, "L d"]
    spread: Float[Array, " d"]
    unit: Float[Array, ""]


def read_extraction(pixels: ArrayLike, mask: ArrayLike | None) -> tuple[Float[Array, "L N"], Bool[Array, " N"]]:
    """Pixels, zero where masked, and their mask; raises `ValueError` when a valid pixel is known not to be finite."""
    values = as_pixels(pixels)
    valid = as_mask(mask, values.shape[1])
    require_finite_pixels(values, valid)
    return (values if mask is None else jnp.where(valid[None, :], values, 0)), valid


def read_simplex(pixels: ArrayLike, num_endmembers: int, mask: ArrayLike | None) -> tuple[Array, Array, Whitened]:
    """Pixels, mask and the p - 1 whitened coordinates; raises `ValueError` when p exceeds what the pixels can hold."""
    values, valid = read_extraction(pixels, mask)
    check_count(num_endmembers, 2, values, valid)
    if num_endmembers > values.shape[0]:
        raise ValueError(f"num_endmembers must be at most the number of bands {values.shape[0]}, got {num_endmembers}.")
    space = whiten(values, valid, num_endmembers - 1)
    known = _validate.concrete(space.spread > rounding(space))
    if known is not None and not known.all():
        raise ValueError(
            f"num_endmembers must be at most {int(known.sum()) + 1}, one more than the dimension that the valid pixels "
            f"span, got {num_endmembers}; ask for fewer."
        )
    return values, valid, space


def rounding(space: Whitened) -> Float[Array, ""]:
    """Standard deviation below which a component is rounding."""
    return 100 * len(space.spread) * jnp.finfo(space.unit.dtype).eps * space.unit


@partial(jax.jit, static_argnames="dimension")
def whiten(pixels: Float[Array, "L N"], valid: Bool[Array, " N"], dimension: int) -> Whitened:
    """The leading principal components in coordinates of unit covariance, for finite pixels."""
    dtype = pixels.dtype
    total = jnp.maximum(jnp.sum(valid), 1).astype(dtype)
    mean = mean_pixel(pixels, valid)
    scatter = covariance(pixels, valid, mean)
    vectors = jnp.linalg.eigh(scatter)[1][:, ::-1][:, :dimension]
    vectors = vectors * jnp.where(jnp.sum(vectors, axis=0) < 0, -1, 1).astype(dtype)[None, :]
    raw = _matmul(vectors.T, pixels) - _matmul(vectors.T, mean)[:, None]
    raw = jnp.where(valid[None, :], raw, 0)

    # Weak components are wrong by the rounding of strong ones: a second pass among the few makes them exactly white.
    spread = _tree.safe_sqrt(jnp.sum(jnp.square(raw), axis=1) / total)
    unit = _tree.safe_sqrt(jnp.trace(scatter) + jnp.sum(mean * mean))
    scales = jnp.where(spread > jnp.finfo(dtype).eps * unit, spread, jnp.where(unit > 0, unit, 1))
    scaled = raw / scales[:, None]
    ridge = 10 * dimension * jnp.finfo(dtype).eps
    lower = jnp.linalg.cholesky(_matmul(scaled, scaled.T) / total + ridge * jnp.eye(dimension, dtype=dtype))
    # Not solved with the pixels on the right: that would gather them from the devices they are sharded over.
    white = _matmul(jax.scipy.linalg.solve_triangular(lower, jnp.eye(dimension, dtype=dtype), lower=True), scaled)
    return Whitened(white, mean, _matmul(vectors * scales[None, :], lower), spread, unit)


def first_vertices(space: Whitened, valid: Bool[Array, " N"], count: int, key: PRNGKeyArray | None) -> Int[Array, " p"]:
    """Pixels that span a simplex, each the farthest from those before it, in the white coordinates or at random in a
    linear image of them, where other pixels are extreme."""
    coordinates = space.coordinates
    if key is not None:
        size = coordinates.shape[0]
        coordinates = _matmul(jax.random.normal(key, (size, size), coordinates.dtype), coordinates)
    return farthest_pixels(coordinates, count, valid, affine=True)[1]


def lifted(coordinates: Float[Array, "d N"]) -> Float[Array, "d+1 N"]:
    """Coordinates with a last row of ones: points of the affine space as vectors, a simplex as a square matrix."""
    return jnp.concatenate([coordinates, jnp.ones_like(coordinates[:1])])
