from functools import partial

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float

from ._blur import Blur
from ._downsample import Downsample
from ._images import (
    as_cube,
    as_kernel,
    Boundary,
    high_precision,
    require_boundary,
    require_finite,
    require_grids,
    require_same_dtype,
)
from ._upsample import upsample


def pansharpen(
    multispectral: ArrayLike,
    pan: ArrayLike,
    kernel: ArrayLike,
    *,
    factor: int | tuple[int, int],
    offset: int | tuple[int, int] = 0,
    boundary: Boundary = "symmetric",
) -> Float[Array, "H W l"]:
    """Inject the details of a fine panchromatic image into a coarse multispectral one, with weights by least squares.

    The intensity is the combination of the bands, with a constant, that is nearest to the blurred and decimated
    panchromatic image. What the panchromatic image has beyond the interpolated intensity is added to each
    interpolated band, times the slope of the regression of that band on the intensity.

    Args:
        multispectral: (h, w, l), finite.
        pan: (H, W) with `H = h * factor`.
        kernel: (a, b), the point spread of the multispectral sensor on the fine grid.
        factor, offset: of the grids; static.
        boundary: as in `Blur`; static.

    Returns:
        The sharpened cube (H, W, l).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, or settings out of range.

    Source: B. Aiazzi, S. Baronti, M. Selva, "Improving component substitution pansharpening through multivariate
    regression of MS+Pan data", 2007.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> pan, kernel = jax.random.uniform(jax.random.key(0), (8, 8)), jnp.full((3, 3), 1 / 9)
        >>> truth = jnp.stack([pan, 0.5 * pan], -1)
        >>> coarse = restoration.Downsample(2)(restoration.Blur(kernel, "symmetric")(truth))
        >>> print(jnp.abs(restoration.pansharpen(coarse, pan, kernel, factor=2) - truth).max() < 1e-4)
        True
    """
    cube, image, spread, keep = read_pan(multispectral, pan, kernel, factor, offset, boundary)
    return _pansharpen(cube, image, spread, keep=keep, boundary=boundary)


def read_pan(
    multispectral: ArrayLike,
    pan: ArrayLike,
    kernel: ArrayLike,
    factor: int | tuple[int, int],
    offset: int | tuple[int, int],
    boundary: Boundary,
) -> tuple[Array, Array, Array, Downsample]:
    """The checked cube, fine image and kernel, with the map between the grids."""
    cube = as_cube(multispectral, "multispectral")
    keep = Downsample(factor, offset)
    image = jnp.asarray(pan)
    if image.ndim != 2:
        raise ValueError(f"pan must be one image (H, W), got shape {image.shape}; take its only band.")
    require_same_dtype(cube, image, "multispectral and pan")
    require_finite(image, "pan")
    require_grids(cube, image, keep.factor, "multispectral and pan")
    require_boundary(boundary)
    spread = as_kernel(kernel, cube.dtype)
    if spread.ndim != 2:
        raise ValueError(f"kernel must be one for all bands, (a, b), got {spread.shape}.")
    return cube, image, spread, keep


def intensity_weights(cube: Array, pan: Array, kernel: Array, keep: Downsample, boundary: Boundary) -> Array:
    """The weights of the bands, and the constant, that are nearest to the coarse panchromatic image."""
    coarse = keep(Blur(kernel, boundary)(pan)).ravel()
    flat = cube.reshape(coarse.size, -1)
    columns = lx.MatrixLinearOperator(jnp.concatenate([flat, jnp.ones((coarse.size, 1), flat.dtype)], axis=1))
    return lx.linear_solve(columns, coarse, lx.AutoLinearSolver(well_posed=False)).value


@partial(jax.jit, static_argnames=("keep", "boundary"))
def _pansharpen(cube: Array, pan: Array, kernel: Array, *, keep: Downsample, boundary: Boundary) -> Array:
    weights = intensity_weights(cube, pan, kernel, keep, boundary)
    intensity = lambda x: high_precision(x, weights[:-1]) + weights[-1]
    coarse = intensity(cube)
    about = coarse - jnp.mean(coarse)
    power = jnp.sum(about * about)
    # A constant intensity varies by rounding alone.
    varies = power > 1e4 * jnp.finfo(cube.dtype).eps ** 2 * jnp.sum(coarse * coarse)
    slopes = jnp.sum(about[:, :, None] * cube, axis=(0, 1)) * jnp.where(varies, 1 / jnp.where(varies, power, 1), 0)
    fine = upsample(cube, keep.factor, keep.offset)
    return fine + (pan - intensity(fine))[:, :, None] * slopes[None, None, :]
