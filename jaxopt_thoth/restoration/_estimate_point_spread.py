from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative
from ._downsample import Downsample
from ._images import (
    as_cube,
    Boundary,
    high_precision,
    require_boundary,
    require_count,
    require_grids,
    require_same_dtype,
)
from ._nonnegative_fit import fit_nonnegative
from ._normal_equations import read_tolerance
from ._patches import kernel_roughness, patches
from ._restoration import ending
from ._sensor_estimate import SensorEstimate


def estimate_point_spread(
    sharp: ArrayLike,
    blurred: ArrayLike,
    size: tuple[int, int],
    *,
    factor: int | tuple[int, int] = 1,
    offset: int | tuple[int, int] = 0,
    smoothness: ArrayLike = 0.0,
    sum_to_one: bool = True,
    boundary: Boundary = "symmetric",
    tol: ArrayLike | None = None,
    max_steps: int = 200,
) -> SensorEstimate:
    """The nonnegative kernel that leads from a sharp image to a blurred and decimated one of the same bands.

    Minimizes the mean over pixels and bands of `(M (k * x) - y)^2 / 2` plus `smoothness t |D k|^2 / 2` over kernels
    `k >= 0` that sum to one, where `k * x` is `Blur(k)`, M is `Downsample(factor, offset)`, D takes the differences of
    neighboring entries and t is the mean square of the sharp image.

    Args:
        sharp: x, (H, W, L), finite.
        blurred: y, (h, w, L) with `H = h * factor`.
        size: (a, b) of the kernel; static.
        factor, offset: of the grids; static.
        smoothness: nonnegative, a scalar without a unit.
        sum_to_one: whether the kernel keeps the mean of the image; without it, it also carries a gain; static.
        boundary: as in `Blur`; static.
        tol, max_steps: as in `estimate_spectral_response`.

    Returns:
        `SensorEstimate` with the kernel (a, b).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, or settings out of range.

    Source: M. Simoes, J. Bioucas-Dias, L. Almeida, J. Chanussot, "A convex formulation for hyperspectral image
    superresolution via subspace-based regularization", 2015, there without the constraints.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> sharp = jax.random.uniform(jax.random.key(0), (8, 8, 1))
        >>> kernel = jnp.array([[0.2, 0.5, 0.3]])
        >>> blurred = restoration.Downsample(2)(restoration.Blur(kernel, "symmetric")(sharp))
        >>> found = restoration.estimate_point_spread(sharp, blurred, (1, 3), factor=2)
        >>> print(jnp.abs(found.kernel - kernel).max() < 1e-3)
        True
    """
    image, coarse = as_cube(sharp, "sharp"), as_cube(blurred, "blurred")
    keep = Downsample(factor, offset)
    require_same_dtype(image, coarse, "sharp and blurred")
    require_grids(coarse, image, keep.factor, "blurred and sharp")
    if image.shape[2] != coarse.shape[2]:
        raise ValueError(f"sharp and blurred must have the same bands, got {image.shape[2]} and {coarse.shape[2]}.")
    support = read_size(size)
    require_boundary(boundary)
    require_nonnegative(smoothness, "smoothness")
    rtol = read_tolerance(tol, max_steps, image.dtype)
    level = _tree.setting(smoothness).astype(image.dtype)
    found, error, steps = _estimate(
        image,
        coarse,
        level,
        rtol,
        size=support,
        keep=keep,
        boundary=boundary,
        sum_to_one=sum_to_one,
        max_steps=max_steps,
    )
    return SensorEstimate(None, found, ending(error, rtol), error, steps)


def read_size(size: tuple[int, int]) -> tuple[int, int]:
    """The sides of a kernel; raises `ValueError` where they are none."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size must be the two sides (a, b) of the kernel, got {size!r}.")
    for side in sides:
        require_count(side, "size")
    return sides[0], sides[1]


@partial(jax.jit, static_argnames=("size", "keep", "boundary", "sum_to_one", "max_steps"))
def _estimate(
    image: Array,
    coarse: Array,
    smoothness: Scalar,
    tol: Scalar,
    *,
    size: tuple[int, int],
    keep: Downsample,
    boundary: Boundary,
    sum_to_one: bool,
    max_steps: int,
) -> tuple[Array, Scalar, IntScalar]:
    rows = patches(image, size, keep, boundary)
    gram = high_precision(rows, rows.T) / rows.shape[1]
    cross = high_precision(rows, coarse.reshape(-1, 1)) / rows.shape[1]
    roughness = kernel_roughness(size, image.dtype)
    found, error, steps = fit_nonnegative(
        gram, cross, roughness, smoothness, tol, sum_to_one=sum_to_one, max_steps=max_steps
    )
    return jnp.reshape(found, size), error, steps
