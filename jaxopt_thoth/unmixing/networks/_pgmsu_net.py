from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._layers import BatchNorm, Dense


class PixelSpectra(NamedTuple):
    """What `PGMSU` says of each pixel: abundances, endmembers, and the Gaussian of the code they came from."""

    abundances: Float[Array, "N p"]
    endmembers: Float[Array, "N L p"]
    mean: Float[Array, "N z"]
    log_variance: Float[Array, "N z"]


class _Stack(eqx.Module):
    layers: tuple[Dense, ...]
    norms: tuple[BatchNorm, ...]

    def __init__(self, sizes: tuple[int, ...], *, key: PRNGKeyArray, dtype: Any) -> None:
        keys = jax.random.split(key, 2 * (len(sizes) - 1)).reshape(2, -1)
        pairs = zip(sizes[:-1], sizes[1:], keys[0], strict=True)
        self.layers = tuple(Dense(i, o, key=k, dtype=dtype, xavier=True) for i, o, k in pairs)
        norms = []
        for size, k in zip(sizes[1:], keys[1], strict=True):
            scale = 1 + 0.02 * jax.random.normal(k, (size,), dtype)
            norms.append(eqx.tree_at(lambda n: n.scale, BatchNorm(size, dtype=dtype), scale))
        self.norms = tuple(norms)

    def __call__(self, x: Float[Array, "N inputs"]) -> Float[Array, "N outputs"]:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = jax.nn.relu(norm(layer(x)))
        return x


class PGMSU(eqx.Module):
    """The network of `pgmsu`: a variational autoencoder whose decoder makes endmembers for each pixel of its own.

    One stack of dense layers makes the code of a pixel (a Gaussian), one its abundances, and one turns a draw of the
    code into endmembers between 0 and 1. Batch normalization uses the statistics of the pixels at hand.

    Args:
        num_bands: L.
        num_endmembers: p.
        key: random key of the weights.
        width: the layers have 8, 4 and 1 (decoder: 1 and 16) times `width * p` units; static.
        latent: size of the code; static.
        dtype: of the weights, JAX's default by default.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = PGMSU(20, 3, key=jax.random.key(0), width=1)
        >>> found = network(jnp.ones((50, 20)), key=jax.random.key(1))
        >>> found.abundances.shape, found.endmembers.shape
        ((50, 3), (50, 20, 3))
    """

    encoder: _Stack
    mean: Dense
    log_variance: Dense
    fractions: _Stack
    last_fractions: Dense
    decoder: _Stack
    last_decoder: Dense
    num_endmembers: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        num_bands: int,
        num_endmembers: int,
        *,
        key: PRNGKeyArray,
        width: int = 4,
        latent: int = 4,
        dtype: Any = None,
    ) -> None:
        dtype = jnp.result_type(float) if dtype is None else dtype
        keys = jax.random.split(key, 7)
        unit = width * num_endmembers
        self.num_endmembers, self.width, self.latent = num_endmembers, width, latent
        self.encoder = _Stack((num_bands, 8 * unit, 4 * unit, unit), key=keys[0], dtype=dtype)
        self.mean = Dense(unit, latent, key=keys[1], dtype=dtype, xavier=True)
        self.log_variance = Dense(unit, latent, key=keys[2], dtype=dtype, xavier=True)
        self.fractions = _Stack((num_bands, 8 * unit, 4 * unit, unit, unit), key=keys[3], dtype=dtype)
        self.last_fractions = Dense(unit, num_endmembers, key=keys[4], dtype=dtype, xavier=True)
        self.decoder = _Stack((latent, unit, 16 * unit), key=keys[5], dtype=dtype)
        self.last_decoder = Dense(16 * unit, num_bands * num_endmembers, key=keys[6], dtype=dtype, xavier=True)

    def __call__(self, pixels: Float[Array, "N L"], *, key: PRNGKeyArray | None = None) -> PixelSpectra:
        """What each pixel is made of; the code is drawn with a key, and the mean of its Gaussian without one."""
        code = self.encoder(pixels)
        mean, log_variance = self.mean(code), self.log_variance(code)
        if key is not None:
            drawn = jax.random.normal(key, mean.shape, mean.dtype)
            code = mean + drawn * jnp.exp(log_variance / 2)
        else:
            code = mean
        spectra = jax.nn.sigmoid(self.last_decoder(self.decoder(code)))
        spectra = spectra.reshape(pixels.shape[0], pixels.shape[1], self.num_endmembers)
        fractions = jax.nn.softmax(self.last_fractions(self.fractions(pixels)), axis=-1)
        return PixelSpectra(fractions, spectra, mean, log_variance)
