"""Synthetic reflectances: a smooth continuum with absorption features, chosen for large mutual angles."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


# Few enough to keep some likeness among the materials: least angles near 30 degrees for 3 and 18 for 12.
_CANDIDATES_PER_ENDMEMBER = 5


def distinct_spectra(key: PRNGKeyArray, wavelengths: Float[Array, " L"], count: int) -> Float[Array, "L p"]:
    """Reflectances (L, count) in (0, 1): each the candidate of largest angle to those before it.

    Args:
        key: key of the candidates.
        wavelengths: (L,) in micrometers.
        count: p, static.
    """
    candidates = _reflectances(key, wavelengths, _CANDIDATES_PER_ENDMEMBER * count)
    units = candidates / jnp.sqrt(jnp.sum(jnp.square(candidates), axis=1, keepdims=True))
    chosen = [jnp.asarray(0, jnp.int32)]
    closeness = units @ units[0]
    for _ in range(count - 1):
        chosen.append(jnp.argmin(closeness).astype(jnp.int32))
        closeness = jnp.maximum(closeness, units @ units[chosen[-1]])
    return candidates[jnp.stack(chosen)].T


def _reflectances(key: PRNGKeyArray, wavelengths: Float[Array, " L"], count: int) -> Float[Array, "count L"]:
    dtype = wavelengths.dtype
    slope_key, shape_key = jax.random.split(key)
    slopes = 1.6 * jax.random.normal(slope_key, (count, 4, 1), dtype)
    # One draw for all shapes: each draw costs more to compile than everything else here.
    draws = jax.random.uniform(shape_key, (count, 20), dtype)

    def uniform(start: int, stop: int, low: float, high: float) -> Array:
        return low + (high - low) * draws[:, start:stop]

    def bumps(centers: Array, widths: Array) -> Array:
        return jnp.exp(-0.5 * jnp.square((wavelengths[None, None, :] - centers[:, :, None]) / widths[:, :, None]))

    continuum = jnp.sum(slopes * bumps(uniform(0, 4, 0.3, 2.6), uniform(4, 8, 0.2, 0.6)), axis=1)
    base = 0.05 + 0.9 * jax.nn.sigmoid(continuum + uniform(8, 9, -1.0, 0.6))

    # Liquid water absorbs near 1.4 and 1.9 micrometers in most materials; the other three features are their own.
    water_centers = jnp.broadcast_to(jnp.asarray([1.4, 1.92], dtype), (count, 2))
    water_widths = jnp.broadcast_to(jnp.asarray([0.04, 0.05], dtype), (count, 2))
    centers = jnp.concatenate([water_centers, uniform(9, 12, 0.5, 2.4)], axis=1)
    widths = jnp.concatenate([water_widths, uniform(12, 15, 0.02, 0.09)], axis=1)
    depths = uniform(15, 20, 0.0, 0.5)
    return base * jnp.prod(1 - depths[:, :, None] * bumps(centers, widths), axis=1)
