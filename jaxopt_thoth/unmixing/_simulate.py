from functools import partial
from operator import index

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from .. import _validate
from .._types import Scalar
from ._noise import awgn
from ._random_fields import cap_fractions, separating_abundances
from ._random_spectra import distinct_spectra
from ._scene import Scene


def simulate_scene(
    key: PRNGKeyArray,
    *,
    num_endmembers: int = 3,
    height: int = 64,
    width: int = 64,
    num_bands: int = 120,
    snr_db: ArrayLike = 35.0,
    purity: ArrayLike = 1.0,
    correlation_length: ArrayLike | None = None,
) -> Scene:
    """A scene with known truth: smooth reflectances, spatially correlated abundances, linear mixing, white noise.

    Reflectances from 0.4 to 2.5 micrometers lie in (0, 1), with absorption features (those of water among them), and
    are chosen for large mutual angles. Abundances are a softmax of Gaussian random fields: they sum to one, every
    material covers a like share of the image, and each has pixels that are nearly pure (99 per cent and more of
    `purity`) on any image of reasonable size. Pure: it compiles, and `jax.vmap` over keys or levels of noise works.

    Args:
        key: key of all draws.
        num_endmembers: p, static, from 2 to the number of pixels.
        height: H, static.
        width: W, static.
        num_bands: L, static, at least 2.
        snr_db: signal-to-noise ratio in decibels; infinity for none.
        purity: upper bound of every abundance, in (1/p, 1]; below 1 there are no pure pixels. What exceeds it goes to
            the other materials of the pixel in proportion, so that pixels without a material remain, by which its facet
            of the simplex can be told. Not so below about `1 / sqrt(p - 1)`.
        correlation_length: of the fields in pixels, positive, at most the smaller side; an eighth of it by default.

    Returns:
        The scene, in JAX's default floating-point dtype, wavelengths in micrometers.

    Raises:
        ValueError: when a setting is out of range.

    Example:
        >>> import jax
        >>> scene = simulate_scene(jax.random.key(0), num_endmembers=4, height=20, width=30)
        >>> scene.pixels.shape, scene.endmembers.shape, scene.abundances.shape
        ((120, 600), (120, 4), (4, 600))
    """
    sizes = {"num_endmembers": num_endmembers, "height": height, "width": width, "num_bands": num_bands}
    least = {"num_endmembers": 2, "height": 1, "width": 1, "num_bands": 2}
    for name, size in sizes.items():
        _require_integer(size, name, least[name])
    if num_endmembers > height * width:
        raise ValueError(f"num_endmembers must be at most the {height * width} pixels, got {num_endmembers}.")
    smaller = min(height, width)
    length = smaller / 8 if correlation_length is None else correlation_length
    _require_within(length, "correlation_length", 0, smaller)
    _require_within(purity, "purity", 1 / num_endmembers, 1)
    known_snr = _validate.concrete(snr_db)
    if known_snr is not None and not known_snr > -jnp.inf:
        raise ValueError(f"snr_db must be a number above minus infinity, got {snr_db}.")

    dtype = jnp.result_type(float)
    settings = [jnp.asarray(value, dtype) for value in (snr_db, purity, length)]
    wavelengths, endmembers, abundances, pixels = _draw(key, *settings, num_endmembers, height, width, num_bands)
    return Scene(
        pixels,
        height,
        width,
        wavelengths=wavelengths,
        endmembers=endmembers,
        abundances=abundances,
        names=[f"material {k + 1}" for k in range(num_endmembers)],
    )


@partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _draw(
    key: PRNGKeyArray,
    snr_db: Scalar,
    purity: Scalar,
    length: Scalar,
    num_endmembers: int,
    height: int,
    width: int,
    num_bands: int,
) -> tuple[Array, Array, Array, Array]:
    spectra_key, abundance_key, noise_key = jax.random.split(key, 3)
    wavelengths = jnp.linspace(0.4, 2.5, num_bands, dtype=snr_db.dtype)
    endmembers = distinct_spectra(spectra_key, wavelengths, num_endmembers)
    fields = separating_abundances(abundance_key, num_endmembers, height, width, length)
    abundances = cap_fractions(fields.reshape(num_endmembers, -1), purity)
    clean = jnp.matmul(endmembers, abundances, precision=jax.lax.Precision.HIGHEST)
    return wavelengths, endmembers, abundances, awgn(clean, snr_db, key=noise_key)


def _require_integer(value: int, name: str, least: int) -> None:
    try:
        size = index(value)
    except TypeError:
        raise ValueError(f"{name} must be a static integer, got {value!r}; pass an int.") from None
    if size < least:
        raise ValueError(f"{name} must be at least {least}, got {size}.")


def _require_within(value: ArrayLike, name: str, above: float, most: float) -> None:
    known = _validate.concrete(value)
    if known is not None and not (known.ndim == 0 and above < known <= most):
        raise ValueError(f"{name} must be a number above {above:g} and at most {most:g}, got {value}.")
