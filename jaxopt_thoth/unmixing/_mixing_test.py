from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import BoolScalar
from ._pixel_blocks import covariance, mean_pixel


# Variance of a component, relative to the largest of pure noise, up to which it counts as noise.
_SLACK = 2.5


@partial(jax.jit, static_argnames="count")
def mixes_ideally(values: Float[Array, "L N"], mask: Bool[Array, " N"], count: int) -> BoolScalar:
    """Whether fractions of `count` endmembers that sum to one, and white noise, explain the pixels in their own unit.

    Then the pixels lie in an affine space of `count - 1` dimensions, and the next principal component is noise: of a
    variance of at most `(1 + sqrt(L / N))^2` times the mean of the rest. Shade and spectra that vary add a component:
    brightness that varies by 5 per cent does so at 30 dB, and real scenes have tens of times the noise there.
    """
    bands = values.shape[0]
    if bands <= count:
        return jnp.zeros((), bool)
    total = jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)
    variances = jnp.linalg.eigvalsh(covariance(values, mask, mean_pixel(values, mask)))[::-1]
    edge = jnp.square(1 + jnp.sqrt(bands / total)) * jnp.mean(variances[count:])
    rounding = 10 * bands * jnp.finfo(values.dtype).eps * variances[0]
    return variances[count - 1] <= _SLACK * edge + rounding
