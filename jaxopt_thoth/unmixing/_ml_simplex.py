from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._result import RESULTS
from .._types import Scalar
from ._checks import as_matrix, same_dtype
from ._extraction_input import first_vertices, lifted, read_simplex, Whitened
from ._shrink_simplex import as_simplex_fit, inflate
from ._simplex_fit import SimplexFit
from ._simplex_likelihood import likely_simplex, OUTLIERS, PixelModel


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
# Least standard deviation of the noise, relative to the narrowest of the p - 1 components.
_LEAST_NOISE = 1e-3


def ml_simplex(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    start: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    tol: ArrayLike = 1e-6,
    max_steps: int = 100,
) -> SimplexFit:
    """Endmembers by maximum likelihood: the simplex in which spread fractions, seen through noise, give the pixels.

    No pure pixels are needed, and nothing is to be tuned. With Q the matrix that maps pixels to abundances a, the log
    likelihood of a pixel with uniform fractions is `log |det Q| + sum_k log Phi(a_k / s_k) - log c(s)`: a
    small simplex is likely, and a pixel beyond a facet costs by its distance in units of the noise. With a chance that
    is estimated too, for each material by expectation and maximization, it is absent, and the pixel on the facet: a
    second term beside Phi. The noise is taken as white, of the variance that the pixels have outside of their first
    p - 1 principal components; s_k is what it is in the k-th abundance, and c(s) the integral of the first term. One
    pixel in ten thousand may lie anywhere. Newton's method, by the moduli of the eigenvalues and with a line search, at
    first with four and two times the noise; O(p^5 N) a step, and few steps.

    Scenes whose fractions cluster, or with more than white noise about the plane of the pixels (spectra that vary,
    shade), are not of this model: there archetypes, as of `edaa`, serve better. Where no fraction is above
    `1 / sqrt(p - 1)` the simplex cannot be told by any method of its kind.

    Args:
        pixels: (L, N), any unit; the simplex lies in their first p - 1 principal components.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels.
        start: (L, p) endmembers to start from; by default the greedy simplex, inflated until it holds all pixels.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        tol: on the gain in log likelihood, a pixel, that a further step promises.
        max_steps: bound on the number of steps at the final noise, static.

    Returns:
        A `SimplexFit`; `endmembers` (L, p) are no pixels.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` or `start` does not fit it, or
            `num_endmembers` is out of range or exceeds the dimension that the pixels span by more than one.

    Source: the likelihood without noise is the volume of M. Craig, "Minimum-volume transforms for remotely sensed
    data", 1994; derived here for noise.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=16, width=16, num_bands=30, purity=0.8)
        >>> ml_simplex(scene.pixels, 3).endmembers.shape
        (30, 3)
    """
    values, valid, space = read_simplex(pixels, num_endmembers, mask)
    dtype = values.dtype
    first = None
    if start is not None:
        first = as_matrix(start, "start", "(L, p)")
        same_dtype(values, "pixels", first, "start")
        if first.shape != (values.shape[0], num_endmembers):
            raise ValueError(f"start must have shape {(values.shape[0], num_endmembers)}, got {first.shape}.")
    given = jnp.asarray(tol, dtype)
    return _fit(values, valid, space, first, given, num_endmembers, max_steps)


@partial(jax.jit, static_argnames=("count", "max_steps"))
def _fit(
    values: Float[Array, "L N"],
    valid: Bool[Array, " N"],
    space: Whitened,
    start: Float[Array, "L p"] | None,
    tol: Scalar,
    count: int,
    max_steps: int,
) -> SimplexFit:
    points = lifted(space.coordinates)
    greedy = inflate(jnp.linalg.inv(points[:, first_vertices(space, valid, count, None)]).T, points).T
    # Residuals of the projection itself: the difference of variances would be lost in rounding.
    rest = values - space.mean[:, None] - _matmul(space.basis, space.coordinates)
    total = jnp.sum(valid).astype(values.dtype)
    variance = jnp.sum(jnp.square(jnp.where(valid[None, :], rest, 0))) / (total * (values.shape[0] - count + 1))
    variance = jnp.maximum(variance, jnp.square(_LEAST_NOISE * jnp.min(space.spread)))
    covariance = variance * jnp.linalg.inv(_matmul(space.basis.T, space.basis))
    model = PixelModel(
        points=points,
        valid=valid,
        noise=jnp.pad(covariance, ((0, 1), (0, 1))),
        outlier=jnp.linalg.slogdet(greedy)[1] + jnp.log(jnp.asarray(OUTLIERS, values.dtype)),
    )
    q = greedy
    if start is not None:
        inside = jnp.linalg.lstsq(space.basis, start - space.mean[:, None])[0]
        # A flat start has no abundances.
        q = jnp.linalg.inv(lifted(inside))
        q = jnp.where(jnp.all(jnp.isfinite(q)), q, greedy)
    end = likely_simplex(model, q, tol, max_steps)
    done = (end.decrease <= tol) | (end.stalled & (end.decrease <= 1e3 * jnp.finfo(values.dtype).eps))
    result = RESULTS.where(done, RESULTS.converged, RESULTS.max_steps_reached)
    result = RESULTS.where(jnp.isfinite(end.value), result, RESULTS.nonfinite)
    return as_simplex_fit(end.q.T, points, space, valid, end.num_steps, result)
