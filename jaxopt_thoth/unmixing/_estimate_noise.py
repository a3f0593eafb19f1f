from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Scalar
from ._extraction_input import read_extraction
from ._pixel_blocks import triangular_factor


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def estimate_noise(
    pixels: ArrayLike, *, mask: ArrayLike | None = None
) -> tuple[Float[Array, "L N"], Float[Array, " L"]]:
    """Noise by multiple regression: what of each band no linear combination of the other bands explains.

    Neighboring bands carry nearly the same signal and noise of their own, so that the residuals of the least-squares
    fits of every band on all others are the noise. One triangular factor of the pixels serves all bands, and is made
    without their correlation matrix, whose rounding in float32 hides noise below about 50 decibels. O(L^2 N) time,
    O(L^2) memory beyond the two matrices (L, N).

    A band that others determine exactly, as a constant one next to another, has the noise of rounding. With hardly
    more pixels than bands the fits leave too little: variances are of N - L + 1 degrees of freedom.

    Args:
        pixels: (L, N), any unit.
        mask: (N,) booleans, True for a valid pixel; the others do not count.

    Returns:
        Noise (L, N), zero at masked pixels, and its variance in each band (L,).

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, or there are not
            more valid pixels than bands.

    Source: J. Bioucas-Dias, J. Nascimento, "Hyperspectral subspace identification", 2008.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=32, width=32, num_bands=40, snr_db=30.0)
        >>> noise, variances = estimate_noise(scene.pixels)
        >>> print(f"{float(10 * jnp.log10(jnp.sum(scene.pixels**2) / jnp.sum(noise**2))):.0f} dB")
        30 dB
    """
    values, valid = read_regression(pixels, mask)
    return _estimate(values, valid)


def read_regression(pixels: ArrayLike, mask: ArrayLike | None) -> tuple[Float[Array, "L N"], Bool[Array, " N"]]:
    """Pixels and mask as by `read_extraction`; raises `ValueError` unless there are more valid pixels than bands."""
    values, valid = read_extraction(pixels, mask)
    bands, count = values.shape
    known = count if isinstance(valid, jax.core.Tracer) else int(valid.sum())
    if known <= bands:
        raise ValueError(
            f"pixels must hold more valid pixels than its {bands} bands, got {known}; pass more, or fewer bands."
        )
    return values, valid


@jax.jit
def _estimate(pixels: Float[Array, "L N"], valid: Bool[Array, " N"]) -> tuple[Array, Array]:
    fit = Regression.of(pixels, valid, jnp.zeros_like(pixels[:, 0]))
    rotated = jax.scipy.linalg.solve_triangular(fit.factor, pixels / fit.scales[:, None], trans="T")
    noise = fit.apply_inverse(rotated)
    return jnp.where(valid[None, :], noise, 0), fit.variances


class Regression:
    """The regressions of every band on all others, from the triangular factor T of the scaled bands.

    With G = T'T, the residuals are `diag(G^-1)^-1 G^-1 Y`, and their squares sum to `1 / diag(G^-1)`.
    """

    def __init__(self, factor: Array, scales: Array, total: Scalar):
        self.factor, self.scales, self.total = factor, scales, total
        bands = scales.shape[0]
        self.inverse = jax.scipy.linalg.solve_triangular(factor, jnp.eye(bands, dtype=factor.dtype))
        self.precision = jnp.sum(jnp.square(self.inverse), axis=1)
        freedom = jnp.maximum(total - (bands - 1), 1)
        self.variances = jnp.square(scales) / (self.precision * freedom)

    @classmethod
    def of(cls, pixels: Float[Array, "L N"], valid: Bool[Array, " N"], offset: Float[Array, " L"]) -> "Regression":
        eps = float(jnp.finfo(pixels.dtype).eps)
        # Of the size of the rounding of the factor: what is beneath it is no noise to be told.
        factor, scales = triangular_factor(pixels, valid, offset, ridge=(4 * eps) ** 2 * pixels.shape[0])
        return cls(factor, scales, jnp.sum(valid).astype(pixels.dtype))

    def apply_inverse(self, rotated: Float[Array, "L n"]) -> Float[Array, "L n"]:
        """Residuals in the unit of the pixels, of pixels given as `T^-T Y`."""
        return _matmul(self.inverse, rotated) * (self.scales / self.precision)[:, None]
