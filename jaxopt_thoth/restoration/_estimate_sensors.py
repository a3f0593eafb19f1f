from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative, require_positive
from ._blur import Blur
from ._downsample import Downsample
from ._estimate_point_spread import read_size
from ._estimate_spectral_response import fit_response
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


def estimate_sensors(
    hyperspectral: ArrayLike,
    multispectral: ArrayLike,
    size: tuple[int, int],
    *,
    factor: int | tuple[int, int],
    offset: int | tuple[int, int] = 0,
    response_smoothness: ArrayLike = 1e-2,
    kernel_smoothness: ArrayLike = 1e-3,
    first_width: float = 2.0,
    num_rounds: int = 5,
    boundary: Boundary = "symmetric",
    tol: ArrayLike | None = None,
    max_steps: int = 200,
) -> SensorEstimate:
    """Response R and point spread k of two sensors, from a coarse hyperspectral and a fine multispectral image.

    Minimizes the mean of `(R y_h - M (k * y_m))^2 / 2` with the smoothness of `estimate_spectral_response` and of
    `estimate_point_spread`, over `R >= 0` and kernels `k >= 0` that sum to one. It is convex in both together, and
    solved for R and for k in turn, so that the objective never rises. The first R is found behind a Gaussian blur of
    both images, strong enough for the point spread not to matter.

    Args:
        hyperspectral: y_h, (h, w, L), finite.
        multispectral: y_m, (H, W, l) with `H = h * factor`.
        size: (a, b) of the kernel on the fine grid; static.
        factor, offset: of the grids; static.
        response_smoothness, kernel_smoothness: nonnegative, scalars without a unit.
        first_width: standard deviation of the first blur in coarse pixels, positive; static.
        num_rounds: how often k and R are solved for; static.
        boundary: as in `Blur`; static.
        tol, max_steps: as in `estimate_spectral_response`.

    Returns:
        `SensorEstimate` with the response (l, L) and the kernel (a, b).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, or settings out of range.

    Source: M. Simoes, J. Bioucas-Dias, L. Almeida, J. Chanussot, "A convex formulation for hyperspectral image
    superresolution via subspace-based regularization", 2015, there without the constraints and for one round.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> fine = jax.random.uniform(jax.random.key(0), (16, 16, 3))
        >>> blur = restoration.Blur(jnp.full((3, 3), 1 / 9), "symmetric")
        >>> coarse = restoration.Downsample(2)(blur(fine))
        >>> found = restoration.estimate_sensors(coarse, fine[:, :, :1], (3, 3), factor=2, response_smoothness=0.0)
        >>> print(found.response.round(1) + 0.0)
        [[1. 0. 0.]]
    """
    cube, image = as_cube(hyperspectral, "hyperspectral"), as_cube(multispectral, "multispectral")
    keep = Downsample(factor, offset)
    names = "hyperspectral and multispectral"
    require_same_dtype(cube, image, names)
    require_grids(cube, image, keep.factor, names)
    support = read_size(size)
    require_boundary(boundary)
    require_count(num_rounds, "num_rounds")
    require_positive(first_width, "first_width")
    require_nonnegative(response_smoothness, "response_smoothness")
    require_nonnegative(kernel_smoothness, "kernel_smoothness")
    rtol = read_tolerance(tol, max_steps, cube.dtype)
    levels = [_tree.setting(value).astype(cube.dtype) for value in (response_smoothness, kernel_smoothness)]
    response, kernel, error, steps = _estimate(
        cube,
        image,
        *levels,
        rtol,
        size=support,
        keep=keep,
        first_width=float(first_width),
        num_rounds=num_rounds,
        boundary=boundary,
        max_steps=max_steps,
    )
    return SensorEstimate(response, kernel, ending(error, rtol), error, steps)


@partial(jax.jit, static_argnames=("size", "keep", "first_width", "num_rounds", "boundary", "max_steps"))
def _estimate(
    cube: Array,
    image: Array,
    response_smoothness: Scalar,
    kernel_smoothness: Scalar,
    tol: Scalar,
    *,
    size: tuple[int, int],
    keep: Downsample,
    first_width: float,
    num_rounds: int,
    boundary: Boundary,
    max_steps: int,
) -> tuple[Array, Array, Scalar, IntScalar]:
    rows = patches(image, size, keep, boundary)
    gram = high_precision(rows, rows.T) / rows.shape[1]
    roughness = kernel_roughness(size, image.dtype)

    def response_of(coarse: Array, target: Array) -> tuple[Array, Scalar, IntScalar]:
        return fit_response(coarse, target, response_smoothness, tol, sum_to_one=False, max_steps=max_steps)

    def advance(response: Array, _: None) -> tuple[Array, tuple[Array, Scalar, IntScalar]]:
        target = high_precision(cube, response.T).reshape(-1, 1)
        cross = high_precision(rows, target) / rows.shape[1]
        kernel, kernel_error, kernel_steps = fit_nonnegative(
            gram, cross, roughness, kernel_smoothness, tol, sum_to_one=True, max_steps=max_steps
        )
        blurred = high_precision(kernel.T, rows).reshape(*cube.shape[:2], -1)
        response, error, steps = response_of(cube, blurred)
        return response, (kernel.reshape(size), jnp.maximum(error, kernel_error), jnp.maximum(steps, kernel_steps))

    wide = first_width * keep.factor[0], first_width * keep.factor[1]
    dtype = cube.dtype
    coarse = Blur(_gaussian((first_width, first_width), cube.shape[:2], dtype), boundary)(cube)
    fine = keep(Blur(_gaussian(wide, image.shape[:2], dtype), boundary)(image))
    response, _, _ = response_of(coarse, fine)
    response, (kernels, errors, steps) = jax.lax.scan(advance, response, length=num_rounds)
    return response, kernels[-1], errors[-1], steps[-1]


def _gaussian(widths: tuple[float, float], limits: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "a b"]:
    """A Gaussian kernel of three widths to either side, not larger than the image."""
    sides = []
    for width, limit in zip(widths, limits, strict=True):
        reach = min(int(3 * width + 0.5), (limit - 1) // 2)
        values = jnp.exp(-((jnp.arange(-reach, reach + 1, dtype=dtype) / width) ** 2) / 2)
        sides.append(values / jnp.sum(values))
    return jnp.outer(sides[0], sides[1])
