"""Synthetic reflectances: a smooth continuum with absorption features, chosen for large mutual angles."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


_CANDIDATES_PER_ENDMEMBER = 40


def distinct_spectra(key: PRNGKeyArray, wavelengths: Float[Array, " L"], count: int) -> Float[Array, "L p"]:
    """Reflectances (L, count) in (0, 1): each the candidate of largest angle to those before it.

    Args:
        key: key of the candidates.
        wavelengths: (L,) in micrometers.
        count: p, static.
    """
    keys = jax.random.split(key, _CANDIDATES_PER_ENDMEMBER * count)
    candidates = jax.vmap(lambda k: _reflectance(k, wavelengths))(keys)
    units = candidates / jnp.sqrt(jnp.sum(jnp.square(candidates), axis=1, keepdims=True))
    chosen = [jnp.asarray(0, jnp.int32)]
    closeness = units @ units[0]
    for _ in range(count - 1):
        chosen.append(jnp.argmin(closeness).astype(jnp.int32))
        closeness = jnp.maximum(closeness, units @ units[chosen[-1]])
    return candidates[jnp.stack(chosen)].T


def _reflectance(key: PRNGKeyArray, wavelengths: Float[Array, " L"]) -> Float[Array, " L"]:
    keys = jax.random.split(key, 7)
    dtype = wavelengths.dtype

    def uniform(k: PRNGKeyArray, count: int, low: float, high: float) -> Array:
        return jax.random.uniform(k, (count,), dtype, low, high)

    def bumps(centers: Array, widths: Array) -> Array:
        return jnp.exp(-0.5 * jnp.square((wavelengths[None, :] - centers[:, None]) / widths[:, None]))

    slopes = 1.6 * jax.random.normal(keys[0], (4, 1), dtype)
    continuum = jnp.sum(slopes * bumps(uniform(keys[1], 4, 0.3, 2.6), uniform(keys[2], 4, 0.2, 0.6)), axis=0)
    base = 0.05 + 0.9 * jax.nn.sigmoid(continuum + uniform(keys[3], 1, -1.0, 0.6))

    # Liquid water absorbs near 1.4 and 1.9 micrometers in most materials; the other three features are their own.
    centers = jnp.concatenate([jnp.asarray([1.4, 1.92], dtype), uniform(keys[4], 3, 0.5, 2.4)])
    widths = jnp.concatenate([jnp.asarray([0.04, 0.05], dtype), uniform(keys[5], 3, 0.02, 0.09)])
    depths = uniform(keys[6], 5, 0.0, 0.5)
    return base * jnp.prod(1 - depths[:, None] * bumps(centers, widths), axis=0)
