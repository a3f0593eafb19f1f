import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._pairs import spectra_pair


def spectral_information_divergence(estimate: ArrayLike, reference: ArrayLike) -> Float[Array, "*p"]:
    """Symmetric Kullback-Leibler divergence of spectra read as distributions over the bands, in nats.

    Zero exactly when the spectra are proportional. Values below the rounding unit of the sum are raised to it, so
    that zeros (and the slightly negative values of noise) give large, finite divergences.

    Args:
        estimate: (L,) or (L, p), any unit, positive.
        reference: of the same shape.

    Returns:
        Nats: a scalar for (L,), the p divergences of corresponding columns for (L, p).

    Raises:
        ValueError: when the shapes or dtypes differ.

    Source: C.-I. Chang, "An information-theoretic approach to spectral variability, similarity, and discrimination
    for hyperspectral image analysis", 2000.

    Example:
        >>> import jax.numpy as jnp
        >>> spectrum = jnp.array([0.2, 0.3, 0.5])
        >>> print(f"{float(spectral_information_divergence(spectrum, spectrum[::-1])):.4f}")
        0.5498
    """
    first, second = (_distribution(spectra) for spectra in spectra_pair(estimate, reference))
    return jnp.sum((first - second) * (jnp.log(first) - jnp.log(second)), axis=0)


def _distribution(spectra: Float[Array, "L *p"]) -> Float[Array, "L *p"]:
    positive = jnp.maximum(spectra, 0)
    total = jnp.sum(positive, axis=0, keepdims=True)
    raised = jnp.maximum(positive / jnp.where(total > 0, total, 1), jnp.finfo(spectra.dtype).eps)
    return raised / jnp.sum(raised, axis=0, keepdims=True)
