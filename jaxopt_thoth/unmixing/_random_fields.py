"""Spatially correlated abundances that share the image fairly and have nearly pure pixels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar


_REACHED_PURITY = 0.995


def separating_abundances(
    key: PRNGKeyArray, count: int, height: int, width: int, correlation_length: Scalar
) -> Float[Array, "p H W"]:
    """Abundances (count, height, width) that sum to one, of like shares, each nearly 1 somewhere.

    Args:
        key: key of the fields.
        count: p, static.
        height: H, static.
        width: W, static.
        correlation_length: in pixels.
    """
    fields = _gaussian_fields(key, count, height, width, correlation_length)
    own = jnp.eye(count, dtype=bool)[:, :, None, None]

    def balance(_: Array, offsets: Array) -> Array:
        shares = jnp.mean(jax.nn.softmax(4 * (fields + offsets), axis=0), axis=(1, 2), keepdims=True)
        return offsets - jnp.log(count * shares) / 4

    fields = fields + jax.lax.fori_loop(0, 30, balance, jnp.zeros((count, 1, 1), fields.dtype))
    # Softmax at temperature t gives a class the abundance 1 / (1 + (p - 1) exp(-lead / t)) at least.
    rivals = jnp.max(jnp.where(own, -jnp.inf, fields[None]), axis=1)
    lead = jnp.min(jnp.max(fields - rivals, axis=(1, 2)))
    temperature = jnp.maximum(lead, 0.05) / jnp.log((count - 1) * _REACHED_PURITY / (1 - _REACHED_PURITY))
    return jax.nn.softmax(fields / temperature, axis=0)


def _gaussian_fields(
    key: PRNGKeyArray, count: int, height: int, width: int, correlation_length: Scalar
) -> Float[Array, "p H W"]:
    """Periodic Gaussian random fields of covariance `exp(-(d / length)^2 / 2)`, each of mean 0 and variance 1."""
    dtype = correlation_length.dtype
    white = jax.random.normal(key, (count, height, width), dtype)
    rows = jnp.fft.fftfreq(height, dtype=dtype)[:, None]
    columns = jnp.fft.rfftfreq(width, dtype=dtype)[None, :]
    transfer = jnp.exp(-jnp.square(jnp.pi * correlation_length) * (rows * rows + columns * columns))
    spectrum = jnp.fft.rfft2(white)
    spectrum = spectrum * transfer.at[0, 0].set(0)[None].astype(spectrum.dtype)
    fields = jnp.fft.irfft2(spectrum, s=(height, width))
    deviation = jnp.sqrt(jnp.mean(jnp.square(fields), axis=(1, 2), keepdims=True))
    return fields / jnp.where(deviation > 0, deviation, 1)


def cap_fractions(fractions: Float[Array, "p N"], most: Scalar) -> Float[Array, "p N"]:
    """No fraction above `most`, more than 1 / p: what exceeds goes to the others of the pixel in proportion."""
    floor = jnp.finfo(fractions.dtype).tiny
    shares = jnp.maximum(fractions, 1e3 * floor)

    # Each round finds at least one more at the bound, of at most p - 1.
    def cap(_: Array, scale: Array) -> Array:
        full = scale * shares >= most
        left = 1 - most * jnp.sum(full, axis=0, keepdims=True).astype(shares.dtype)
        rest = jnp.sum(jnp.where(full, 0, shares), axis=0, keepdims=True)
        return jnp.maximum(scale, left / jnp.maximum(rest, floor))

    scale = jax.lax.fori_loop(0, fractions.shape[0], cap, jnp.ones_like(fractions[:1]))
    return jnp.minimum(scale * shares, most)
