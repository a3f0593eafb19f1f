from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._gaussian_mechanism import add_noise, normal_like, require_key


def relative_gaussian(
    key: Key[Array, ""],
    tree: Params,
    *,
    slope: ArrayLike,
    offset: ArrayLike,
    noise_multiplier: ArrayLike,
    squared: bool = False,
) -> Params:
    """Relative Gaussian mechanism: noise whose deviation follows the norm of what it hides.

    A query f is relatively sensitive when neighbors have `|f(D) - f(D')| <= slope * min(|f(D)|, |f(D')|) + offset`, and
    the mechanism returns `f(D) + s z`, z standard normal and `s = noise_multiplier * (slope * |f(D)| + offset)`. The
    norm is that of the whole pytree, and what the noise gives away about it is in `relative_gaussian_rdp`, whose
    `dimension` is the number of all coordinates. With slope 0 it is the Gaussian mechanism of sensitivity `offset`.

    Args:
        key: random key of this one release.
        tree: the query's value, a pytree of floating-point arrays.
        slope: relative sensitivity, at least zero.
        offset: sensitivity of a query of norm zero, at least zero.
        noise_multiplier: deviation of the noise over the sensitivity, at least zero.
        squared: whether the sensitivity is given by its square, `slope^2 min(...)^2 + offset^2`; the noise then has
            variance `noise_multiplier^2 (slope^2 |f(D)|^2 + offset^2)`.

    Raises:
        ValueError: if a number is negative, or `key` is not a random key.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> query, key = jnp.full(10_000, 0.3), jax.random.key(0)
        >>> noisy = jt.privacy.relative_gaussian(key, query, slope=0.01, offset=0.1, noise_multiplier=2.0)
        >>> print(f"{jnp.std(noisy - query):.1f}")
        0.8
    """
    for value, name in ((slope, "slope"), (offset, "offset"), (noise_multiplier, "noise_multiplier")):
        require_nonnegative(value, name)
    require_key(key)
    scale = relative_scale(tree, slope, offset, noise_multiplier, squared)
    return add_noise(tree, scale, normal_like(key, tree))


def relative_scale(
    tree: Params, slope: ArrayLike, offset: ArrayLike, noise_multiplier: ArrayLike, squared: bool
) -> Scalar:
    """Deviation of the noise that the relative Gaussian mechanism adds to each entry of `tree`."""
    size = _tree.stable_norm(tree)
    slope, offset, multiplier = (_tree.match(value, size) for value in (slope, offset, noise_multiplier))
    if squared:
        return multiplier * _tree.norm((slope * size, offset))
    return multiplier * (slope * size + offset)
