from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import IntScalar
from ._estimate_noise import read_regression, Regression


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class SignalSubspace(eqx.Module):
    """The subspace of the signal of a scene, from `hysime`; under `vmap` every field gains the batch axis.

    Attributes:
        count: number of dimensions k, an estimate of the number of endmembers.
        basis: (L, L) orthonormal columns, in ascending order of cost: the first k span the signal.
        costs: (L,) expected change of the mean square error when the dimension is added, negative for the first k.
        noise_variances: (L,) of the noise in each band.
    """

    count: IntScalar
    basis: Float[Array, "L L"]
    costs: Float[Array, " L"]
    noise_variances: Float[Array, " L"]


def hysime(
    pixels: ArrayLike, *, mask: ArrayLike | None = None, noise_variances: ArrayLike | None = None
) -> SignalSubspace:
    """Number of endmembers by HySime: the subspace that trades the power of the signal against that of the noise.

    Directions are the eigenvectors of the correlation of the signal, that is of the pixels without the noise that
    regression finds (`estimate_noise`). Dropping the direction e loses the signal along it and keeping it leaves the
    noise: it is kept where `2 e'R_n e < e'R_y e`. Nothing has to be set. On scenes whose noise is correlated between
    bands or comes from quantization the count is too large (74 for Samson, with 3 materials); mixtures that are not
    linear add dimensions as well.

    Everything comes from one triangular factor of the pixels, so that float32 serves up to the noise of its rounding.
    O(L^2 N + L^3) time, O(L^2) memory beyond the pixels.

    Args:
        pixels: (L, N), any unit.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        noise_variances: (L,) known variances of the noise in each band; None takes those of `estimate_noise`.

    Returns:
        A `SignalSubspace` with `count`, an integer array.

    Raises:
        ValueError: as `estimate_noise`, and when `noise_variances` does not fit the bands.

    Source: J. Bioucas-Dias, J. Nascimento, "Hyperspectral subspace identification", 2008.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), num_endmembers=4, height=32, width=32, num_bands=60)
        >>> int(hysime(scene.pixels).count)
        4
    """
    values, valid = read_regression(pixels, mask)
    if noise_variances is None:
        return _hysime(values, valid, None)
    known = jnp.asarray(noise_variances, values.dtype)
    if known.shape != values.shape[:1]:
        raise ValueError(f"noise_variances must have shape ({values.shape[0]},), one a band, got {known.shape}.")
    return _hysime(values, valid, known)


@jax.jit
def _hysime(pixels: Float[Array, "L N"], valid: Bool[Array, " N"], known: Float[Array, " L"] | None) -> SignalSubspace:
    fit = Regression.of(pixels, valid, jnp.zeros_like(pixels[:, 0]))
    variances = fit.variances if known is None else known
    # Square roots of the correlations, `F F' / N`: the pixels' own and, without the residuals, that of the signal.
    observed = fit.factor.T * fit.scales[:, None]
    signal = observed - fit.apply_inverse(jnp.eye(fit.factor.shape[0], dtype=pixels.dtype))
    basis = jnp.linalg.svd(signal)[0]
    power = jnp.sum(jnp.square(_matmul(basis.T, observed)), axis=1) / fit.total
    costs = 2 * _matmul(jnp.square(basis).T, variances) - power
    order = jnp.argsort(costs)
    costs = costs[order]
    # Without any noise what is left are directions of rounding, of which every sign is as good as the other.
    floor = (30 * jnp.finfo(pixels.dtype).eps) ** 2 * jnp.sum(power)
    return SignalSubspace(jnp.sum(costs < -floor), basis[:, order], costs, variances)
