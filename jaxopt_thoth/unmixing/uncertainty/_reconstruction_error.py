import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ... import _tree
from .._pixel_input import read_pixels
from .._scene import Scene
from .._unmixing import Unmixing


def reconstruction_error(
    scene: ArrayLike | Scene, unmixing: Unmixing, *, relative: bool = False
) -> Float[Array, "..."]:
    """Root mean square over the bands of what an unmixing leaves of each pixel, in the unit of the pixels.

    By the "residual" among the diagnostics, that of the method's own model, where there is one; else that of the linear
    model, endmembers times abundances, times the scale of the pixels where they were normalized.

    Args:
        scene: what was unmixed: matrix (L, N), cube (H, W, L), or `Scene`.
        unmixing: the result.
        relative: divide by the root mean square of the pixel.

    Returns:
        (N,) for a matrix and (H, W) for a cube or a scene; NaN where the abundances are, and where a pixel is masked.

    Raises:
        ValueError: when the result is of another number of bands or pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import unmixing
        >>> pixels = jnp.array([[0.5, 1.0], [0.5, 0.0], [0.0, 0.2]])
        >>> found = unmixing.sclsu(pixels, jnp.eye(3)[:, :2])
        >>> unmixing.uncertainty.reconstruction_error(pixels, found).round(3).tolist()
        [0.0, 0.115]
    """
    given = read_pixels(scene)
    values: Array = jnp.where(given.mask[None, :], given.values, 0)
    bands, count = values.shape
    fractions = unmixing.abundances.reshape(unmixing.abundances.shape[0], -1)
    if unmixing.endmembers.shape[0] != bands or fractions.shape[1] != count:
        raise ValueError(
            f"unmixing of {unmixing.endmembers.shape[0]} bands and {fractions.shape[1]} pixels does not belong to a "
            f"scene of {bands} bands and {count} pixels; pass the one that was unmixed."
        )
    known = unmixing.diagnostics or {}
    if "residual" in known:
        error = known["residual"].reshape(-1) / bands**0.5
    else:
        fitted = jnp.matmul(unmixing.endmembers, fractions, precision="highest")
        if unmixing.pixel_scale is not None:
            fitted = fitted * unmixing.pixel_scale[None, :]
        error = _tree.safe_sqrt(jnp.mean((values - fitted) ** 2, axis=0))
    if relative:
        size = _tree.safe_sqrt(jnp.mean(values * values, axis=0))
        error = jnp.where(size > 0, error / jnp.where(size > 0, size, 1), jnp.nan)
    error = jnp.where(given.mask, error, jnp.nan)
    if isinstance(scene, Scene):
        return error.reshape(scene.height, scene.width)
    return error if given.shape is None else error.reshape(given.shape)
