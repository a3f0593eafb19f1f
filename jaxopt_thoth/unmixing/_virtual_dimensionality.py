from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree, _validate
from ._estimate_noise import read_regression, Regression
from ._extraction_input import read_extraction
from ._pixel_blocks import mean_pixel, triangular_factor


def hfc(pixels: ArrayLike, false_alarm: ArrayLike = 1e-3, *, mask: ArrayLike | None = None) -> Int[Array, "..."]:
    """Number of endmembers by virtual dimensionality: eigenvalues that the mean of the pixels lifts above the noise.

    After Harsanyi, Farrand and Chang: the sorted eigenvalues of the correlation and of the covariance agree where
    there is only noise of mean zero, and differ where there is signal. Each pair goes through a Neyman-Pearson test
    of its difference, of variance `2 (r^2 + k^2) / N`. That variance is of independent eigenvalues; both are of the
    same pixels, and for noise alone the difference is of the order 1 / N: the probability of a false alarm is far
    below what was set. The count misses materials of small mean contrast, and depends on the setting little.

    Args:
        pixels: (L, N), any unit.
        false_alarm: probability in (0, 1) of the test, or several of any shape.
        mask: (N,) booleans, True for a valid pixel; the others do not count.

    Returns:
        Integers of the shape of `false_alarm`.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, or `false_alarm`
            is out of range.

    Source: C.-I. Chang, Q. Du, "Estimation of number of spectrally distinct signal sources in hyperspectral imagery",
    2004.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=32, width=32, num_bands=60)
        >>> hfc(scene.pixels, jnp.array([1e-3, 1e-5])).tolist()
        [2, 2]
    """
    values, valid = read_extraction(pixels, mask)
    return _count(values, valid, _probabilities(false_alarm, values), whiten=False)


def nwhfc(pixels: ArrayLike, false_alarm: ArrayLike = 1e-3, *, mask: ArrayLike | None = None) -> Int[Array, "..."]:
    """Number of endmembers by virtual dimensionality after whitening: `hfc` on bands divided by their noise.

    The noise of a band is what the other bands do not explain, in deviations from the mean. For noise alike in all
    bands the counts are those of `hfc`; where bands differ, faint signals in clean bands count.

    Args:
        pixels: (L, N), any unit.
        false_alarm: probability in (0, 1) of the test, or several of any shape.
        mask: (N,) booleans, True for a valid pixel; the others do not count.

    Returns:
        Integers of the shape of `false_alarm`.

    Raises:
        ValueError: as `hfc`, and when there are not more valid pixels than bands, or a band is known to be constant.

    Source: C.-I. Chang, Q. Du, "Estimation of number of spectrally distinct signal sources in hyperspectral imagery",
    2004.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=32, width=32, num_bands=60)
        >>> nwhfc(scene.pixels).tolist()
        2
    """
    values, valid = read_regression(pixels, mask)
    varies = _validate.concrete(_varies(values, valid))
    if varies is not None and not varies.all():
        constant = [k for k, moves in enumerate(varies) if not moves]
        raise ValueError(f"pixels must vary in every band, got constant bands {constant}; leave them out.")
    return _count(values, valid, _probabilities(false_alarm, values), whiten=True)


def _probabilities(false_alarm: ArrayLike, pixels: Array) -> Array:
    known = _validate.concrete(false_alarm)
    if known is not None and not ((known > 0) & (known < 1)).all():
        raise ValueError(f"false_alarm must lie in (0, 1), got {false_alarm}; 1e-3 to 1e-5 is customary.")
    return jnp.asarray(false_alarm, pixels.dtype)


@jax.jit
def _varies(pixels: Float[Array, "L N"], valid: Bool[Array, " N"]) -> Bool[Array, " L"]:
    low = jnp.min(jnp.where(valid[None, :], pixels, jnp.inf), axis=1)
    high = jnp.max(jnp.where(valid[None, :], pixels, -jnp.inf), axis=1)
    return high - low > 10 * jnp.finfo(pixels.dtype).eps * jnp.maximum(jnp.abs(high), jnp.abs(low))


@partial(jax.jit, static_argnames="whiten")
def _count(
    pixels: Float[Array, "L N"], valid: Bool[Array, " N"], false_alarm: Array, *, whiten: bool
) -> Int[Array, "..."]:
    total = jnp.maximum(jnp.sum(valid), 1).astype(pixels.dtype)
    mean = mean_pixel(pixels, valid)
    deviations = jnp.ones_like(mean)
    rounding = 30 * jnp.finfo(pixels.dtype).eps
    if whiten:
        fit = Regression.of(pixels, valid, mean)
        deviations = jnp.maximum(_tree.safe_sqrt(fit.variances), rounding * fit.scales)

    def eigenvalues(offset: Array) -> Array:
        factor, scales = triangular_factor(pixels, valid, offset, ridge=0.0)
        return jnp.square(jnp.linalg.svd(factor * (scales / deviations)[None, :], compute_uv=False)) / total

    correlation, covariance = eigenvalues(jnp.zeros_like(mean)), eigenvalues(mean)
    spread = jnp.sqrt(2 * (jnp.square(correlation) + jnp.square(covariance)) / total)
    quantile = -jax.scipy.special.ndtri(false_alarm)[..., None]
    # Without any noise the last eigenvalues are rounding.
    told = correlation > rounding**2 * jnp.sum(correlation)
    gain = jnp.where(told, correlation - covariance, -jnp.inf).reshape(*[1] * false_alarm.ndim, -1)
    return jnp.sum(gain > quantile * spread.reshape(gain.shape), axis=-1)
