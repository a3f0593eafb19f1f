import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._checks import as_mask, as_pixels


def global_minmax(pixels: ArrayLike, *, mask: ArrayLike | None = None) -> Float[Array, "L N"]:
    """Map all values of the image to [0, 1] by one affine map, `(Y - min) / (max - min)`.

    A constant image becomes zero. Masked pixels do not count in the extremes and become zero.

    Args:
        pixels: (L, N), any unit.
        mask: (N,) booleans, True for a valid pixel; all by default.

    Returns:
        (L, N), dimensionless.

    Raises:
        ValueError: when `pixels` is not a matrix or `mask` does not fit it.

    Source: A. Zouaoui et al., "Entropic descent archetypal analysis for blind hyperspectral unmixing", 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> [float(v) for v in global_minmax(jnp.array([[1.0, 2.0], [3.0, 5.0]])).ravel()]
        [0.0, 0.25, 0.5, 1.0]
    """
    values = as_pixels(pixels)
    valid = jnp.broadcast_to(as_mask(mask, values.shape[1])[None, :], values.shape)
    low = jnp.min(values, where=valid, initial=jnp.inf)
    high = jnp.max(values, where=valid, initial=-jnp.inf)
    return jnp.where(valid, (values - low) / _or_one(high - low), 0)


def bandwise_minmax(pixels: ArrayLike, *, mask: ArrayLike | None = None) -> Float[Array, "L N"]:
    """Map each band of the image to [0, 1] by its own affine map; a constant band becomes zero.

    Args:
        pixels: (L, N), any unit.
        mask: (N,) booleans, True for a valid pixel; the others do not count and become zero.

    Returns:
        (L, N), dimensionless.

    Raises:
        ValueError: when `pixels` is not a matrix or `mask` does not fit it.

    Source: B. Rasti et al., "Image Processing and Machine Learning for Hyperspectral Unmixing" (HySUPP), 2024.

    Example:
        >>> import jax.numpy as jnp
        >>> [float(v) for v in bandwise_minmax(jnp.array([[1.0, 2.0], [3.0, 5.0]])).ravel()]
        [0.0, 1.0, 0.0, 1.0]
    """
    values = as_pixels(pixels)
    valid = jnp.broadcast_to(as_mask(mask, values.shape[1])[None, :], values.shape)
    low = jnp.min(values, axis=1, keepdims=True, where=valid, initial=jnp.inf)
    high = jnp.max(values, axis=1, keepdims=True, where=valid, initial=-jnp.inf)
    return jnp.where(valid, (values - low) / _or_one(high - low), 0)


def pixel_l1(pixels: ArrayLike) -> Float[Array, "L N"]:
    """Divide each pixel by the sum of its absolute values; zero pixels stay zero.

    Args:
        pixels: (L, N), any unit.

    Returns:
        (L, N), dimensionless, columns of unit l1 norm or zero.

    Raises:
        ValueError: when `pixels` is not a matrix.

    Source: B. Rasti et al., "Image Processing and Machine Learning for Hyperspectral Unmixing" (HySUPP), 2024.

    Example:
        >>> import jax.numpy as jnp
        >>> [float(v) for v in pixel_l1(jnp.array([[1.0, 0.0], [3.0, 0.0]])).ravel()]
        [0.25, 0.0, 0.75, 0.0]
    """
    values = as_pixels(pixels)
    return values / _or_one(jnp.sum(jnp.abs(values), axis=0, keepdims=True))


def pixel_l2(pixels: ArrayLike) -> Float[Array, "L N"]:
    """Divide each pixel by its Euclidean norm; zero pixels stay zero, with derivative zero of the norm.

    Abundances of normalized pixels are weights proportional to `a_i |e_i| / |y|`: they sum to one only roughly.

    Args:
        pixels: (L, N), any unit.

    Returns:
        (L, N), dimensionless, columns of unit l2 norm or zero.

    Raises:
        ValueError: when `pixels` is not a matrix.

    Source: A. Zouaoui et al., "Entropic descent archetypal analysis for blind hyperspectral unmixing", 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> print([f"{float(v):.3f}" for v in pixel_l2(jnp.array([[3.0, 0.0], [4.0, 0.0]])).ravel()])
        ['0.600', '0.000', '0.800', '0.000']
    """
    values = as_pixels(pixels)
    return values / _or_one(_tree.safe_sqrt(jnp.sum(values * values, axis=0, keepdims=True)))


def _or_one(scale: Array) -> Array:
    return jnp.where(scale > 0, scale, 1)
