from jaxtyping import ArrayLike

from ._fuse_variational import fuse_variational, FusionPrior
from ._images import Boundary
from ._pansharpen import intensity_weights, read_pan
from ._restoration import Restoration


def pansharpen_variational(
    multispectral: ArrayLike,
    pan: ArrayLike,
    kernel: ArrayLike,
    *,
    factor: int | tuple[int, int],
    offset: int | tuple[int, int] = 0,
    weight: ArrayLike = 1.0,
    strength: ArrayLike = 1e-3,
    prior: FusionPrior = "total_variation",
    boundary: Boundary = "symmetric",
    tol: ArrayLike | None = None,
    max_steps: int = 5000,
) -> Restoration:
    """Sharpen a multispectral image by a panchromatic one as an inverse problem, with a prior of the bands.

    Minimizes `|M B X - Y|^2 / 2 + weight |X a + c - P|^2 / 2 + strength g(X)` over cubes X, with the weights a and the
    constant c of the panchromatic image P fitted on the coarse grid as in `pansharpen`, and otherwise as
    `fuse_variational` does with one fine band.

    Args:
        multispectral, pan, kernel, factor, offset, boundary: as in `pansharpen`.
        weight: of the fit to the panchromatic image, nonnegative.
        strength, prior, tol, max_steps: as in `fuse_variational`.

    Returns:
        `Restoration` with the sharpened cube (H, W, l).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, or settings out of range.

    Source: F. Palsson, J. Sveinsson, M. Ulfarsson, "A new pansharpening algorithm based on total variation", 2014.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> pan, kernel = jnp.zeros((8, 8)).at[2:5, 3:7].set(1.0), jnp.full((3, 3), 1 / 9)
        >>> truth = jnp.stack([pan, 0.5 * pan], -1)
        >>> coarse = restoration.Downsample(2)(restoration.Blur(kernel, "symmetric")(truth))
        >>> found = restoration.pansharpen_variational(coarse, pan, kernel, factor=2)
        >>> print(jnp.abs(found.cube - truth).max() < 0.05)
        True
    """
    cube, image, spread, keep = read_pan(multispectral, pan, kernel, factor, offset, boundary)
    weights = intensity_weights(cube, image, spread, keep, boundary)
    return fuse_variational(
        cube,
        (image - weights[-1])[:, :, None],
        spread,
        weights[None, :-1],
        factor=keep.factor,
        offset=keep.offset,
        weight=weight,
        strength=strength,
        prior=prior,
        boundary=boundary,
        tol=tol,
        max_steps=max_steps,
    )
