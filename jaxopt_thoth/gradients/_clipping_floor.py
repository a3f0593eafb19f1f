import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative


def clipping_floor(sigma: ArrayLike, clip: ArrayLike) -> Float[Array, "..."]:
    """Largest mean gradient at which clipped SGD can come to rest, over all noises of standard deviation `sigma`.

    In one dimension, h = m + noise with E clip(h) = 0 has |m| at most `sigma^2 / (4 clip)` where `sigma <= 2 clip`, and
    `sigma - clip` beyond; `clipping_extremal_law` attains it. No step size removes it. A symmetric noise with mass
    around zero has no such bias at all.

    Args:
        sigma: scalar or array, standard deviation of the noise.
        clip: scalar or array of the same shape, the level.

    Returns:
        The supremum of |m|, of the shape of both.

    Raises:
        ValueError: where one of them is known to be negative.

    Koloskova, Hendrikx and Stich, "Revisiting gradient clipping: stochastic bias and tight convergence guarantees",
    2023, have the rate; the constant is that of the linear program over all laws.

    Example:
        >>> from jaxopt_thoth import gradients
        >>> gradients.clipping_floor(1.0, clip=4.0).item(), gradients.clipping_floor(1.0, clip=0.25).item()
        (0.0625, 0.75)
    """
    sigma, clip = noise_and_level(sigma, clip)
    mild = sigma <= 2 * clip
    safe = jnp.where(mild & (clip > 0), clip, 1)
    # As a product, not a square: a quotient of moderate size must not overflow on its way.
    return jnp.where(mild, sigma * (sigma / (4 * safe)), sigma - jnp.where(mild, 0, clip))


def noise_and_level(sigma: ArrayLike, clip: ArrayLike) -> tuple[Array, Array]:
    """Both as arrays of one shape and dtype."""
    require_nonnegative(sigma, "sigma")
    require_nonnegative(clip, "clip")
    sigma, clip = _tree.setting(sigma), _tree.setting(clip)
    dtype = _widest(sigma, clip)
    shape = jnp.broadcast_shapes(sigma.shape, clip.shape)
    return jnp.broadcast_to(sigma.astype(dtype), shape), jnp.broadcast_to(clip.astype(dtype), shape)


def _widest(x: Array, y: Array):
    return x.dtype if jnp.finfo(x.dtype).bits >= jnp.finfo(y.dtype).bits else y.dtype
