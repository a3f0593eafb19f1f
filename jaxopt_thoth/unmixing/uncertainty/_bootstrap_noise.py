from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ... import _tree
from .._checks import as_pixels, same_dtype
from .._unmixing import Unmixing
from ._spread import abundances_of, aligned, check_runs, gather, Spread


def bootstrap_noise(
    method: Callable[[Array], Unmixing | Array],
    pixels: ArrayLike,
    fitted: ArrayLike,
    noise: ArrayLike | None = None,
    *,
    key: PRNGKeyArray,
    num_draws: int = 50,
    reference: ArrayLike | None = None,
    chunk: int = 1,
) -> Spread:
    """Mean and standard deviation of abundances over pixels drawn anew: what a method fitted, with fresh noise.

    Gaussian noise of given variances or covariance, for instance of `estimate_noise`; or the residuals of the fit, each
    entry that of the same band at another pixel drawn at random. Residuals of whole pixels would not do: they are
    orthogonal to the endmembers, and move no abundance. Residuals are a little smaller than the noise, those of p free
    abundances by a factor of about `sqrt(1 - p / L)`.

    Args:
        method: `fn(pixels (L, N)) -> Unmixing`, or abundances alone, that runs under `jit`.
        pixels: (L, N); those that are not finite stay so, and do not lend their residuals.
        fitted: (L, N), what the method makes of them, `endmembers @ abundances`; at pixels that it left out NaN.
        noise: variances (L,) or covariance (L, L), positive semidefinite; None draws residuals.
        key: of the draws.
        num_draws: at least 2, static.
        reference: (p, N) abundances in whose order those of each draw are put; for methods that find endmembers.
        chunk: draws at once, by `jax.vmap`; static.

    Raises:
        ValueError: for arguments of a wrong shape, negative variances, too few draws, or an empty chunk.

    Source: B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import estimate_noise, fclsu, simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=20, width=20, num_bands=30)
        >>> fit = lambda pixels: fclsu(pixels, scene.endmembers)
        >>> fitted = scene.endmembers @ fit(scene.pixels)
        >>> variances = estimate_noise(scene.pixels)[1]
        >>> spread = bootstrap_noise(fit, scene.pixels, fitted, variances, key=jax.random.key(1), num_draws=10)
        >>> spread.mean.shape, bool(spread.standard_deviation.max() < 0.05)
        ((3, 400), True)
    """
    values, means = as_pixels(pixels), as_pixels(fitted)
    same_dtype(values, "pixels", means, "fitted")
    if means.shape != values.shape:
        raise ValueError(f"fitted must be like the pixels {values.shape}, got {means.shape}.")
    check_runs(num_draws, 2, "num_draws", chunk)
    factor = None if noise is None else _square_root(noise, values)
    order = None if reference is None else _tree.as_inexact(reference)

    def draw(values: Array, means: Array, factor: Array | None, key: PRNGKeyArray) -> Array:
        known = jnp.all(jnp.isfinite(values), axis=0) & jnp.all(jnp.isfinite(means), axis=0)
        if factor is not None:
            white = jax.random.normal(key, values.shape, values.dtype)
            extra = factor[:, None] * white if factor.ndim == 1 else jnp.matmul(factor, white, precision="highest")
        else:
            residual = jnp.where(known[None, :], values - means, 0)
            count = jnp.maximum(jnp.sum(known), 1)
            residual = residual - jnp.sum(residual, axis=1, keepdims=True) / count.astype(values.dtype)
            # The known pixels first, of which those of random places are taken.
            places = jnp.argsort(~known, stable=True)[jax.random.randint(key, values.shape, 0, count)]
            extra = jnp.take_along_axis(residual, places, axis=1)
        return jnp.where(known[None, :], means + extra, jnp.nan)

    def everything(values: Array, means: Array, factor: Array | None, order: Array | None, keys: Array) -> Spread:
        def run(key: PRNGKeyArray) -> Array:
            maps = abundances_of(method(draw(values, means, factor, key)))
            return maps if order is None else aligned(maps, order)

        return gather(run, keys, chunk)

    keys = jax.random.split(key, num_draws)
    return jax.jit(everything)(values, means, factor, order, keys)


def _square_root(noise: ArrayLike, pixels: Float[Array, "L N"]) -> Array:
    given = _tree.as_inexact(noise).astype(pixels.dtype)
    bands = pixels.shape[0]
    if given.shape not in ((bands,), (bands, bands)):
        raise ValueError(f"noise must be variances ({bands},) or a covariance ({bands}, {bands}), got {given.shape}.")
    if given.ndim == 1:
        if not isinstance(given, jax.core.Tracer) and bool(jnp.any(given < 0)):
            raise ValueError("noise must hold nonnegative variances; pass variances, not decibels.")
        return _tree.safe_sqrt(given)
    spectrum, basis = jnp.linalg.eigh((given + given.T) / 2)
    return basis * _tree.safe_sqrt(jnp.maximum(spectrum, 0))[None, :]
