from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative
from ..penalties import NonNegative, Tilted
from ..smooth import Quadratic
from ._library_fit import least_squares, unit_of
from ._library_input import from_abundances, read_library
from ._scene import Scene
from ._total_variation_fit import fit_spatial, SpatialFit, start_spatial
from ._unmixing import Unmixing


def sunsal_tv(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 1e-3,
    variation: ArrayLike = 3e-3,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray | None = None,
    image_shape: tuple[int, int] | None = None,
    max_steps: int = 300,
    tol: ArrayLike = 1e-4,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Sparse unmixing by a library with smooth maps, `sunsal` plus the total variation of each map.

    Minimizes `|Y - D X|^2 / 2 + strength |X|_1 + variation TV(X)` over `X >= 0`, TV the sum of absolute differences to
    the next row and column, by an alternating direction method whose steps are all in closed form. Borders are free
    (cosine transform), where the published code wraps the image around.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the l1 norm, a nonnegative scalar.
        variation: strength of the total variation, a nonnegative scalar.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: not used; library methods are called alike.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        max_steps: bound on the number of steps.
        tol: tolerance on the relative residuals.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with `library_abundances` (M, N), zeros exact, and the `indices` of the endmembers; maps are
        (.., H, W) for a cube, and NaN where masked.

    Raises:
        ValueError: for a library of other bands or dtype, settings out of range, or a missing image shape.

    Source: M.-D. Iordache, J. Bioucas-Dias, A. Plaza, "Total variation spatial regularization for sparse hyperspectral
    unmixing", 2012.

    Example:
        >>> import jax.numpy as jnp
        >>> cube = jnp.zeros((4, 4, 2)).at[:, :, 0].set(1.0).at[1, 1, 1].set(0.5)
        >>> print(sunsal_tv(cube, jnp.eye(2), 0.1, 1.0).library_abundances[1].max().round(2))
        0.0
    """
    task = read_library(pixels, library, num_endmembers, mask, image_shape, spatial=True)
    require_nonnegative(strength, "strength")
    require_nonnegative(variation, "variation")
    require_nonnegative(tol, "tol")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}.")
    unit = unit_of(task)
    dtype = task.pixels.dtype
    scaled = [_tree.setting(value).astype(dtype) / unit for value in (strength, variation)]
    maps, error = _sunsal_tv(
        least_squares(task), task.mask, *scaled, _tree.setting(tol).astype(dtype), image=task.image, max_steps=max_steps
    )
    finite = jnp.isfinite(error)
    result = RESULTS.where(error <= _tree.setting(tol).astype(dtype), RESULTS.converged, RESULTS.max_steps_reached)
    return from_abundances(task, maps, num_endmembers, RESULTS.where(finite, result, RESULTS.nonfinite))


@partial(jax.jit, static_argnames=("image", "max_steps"))
def _sunsal_tv(
    smooth: Quadratic,
    mask: Array,
    strength: Scalar,
    variation: Scalar,
    tol: Scalar,
    *,
    image: tuple[int, int],
    max_steps: int,
) -> tuple[Array, Scalar]:
    gram, cross = smooth.matrix.columns(jnp.arange(smooth.vector.shape[0])), -smooth.vector
    problem = SpatialFit(
        gram, cross, Tilted(NonNegative(), strength), jnp.ones((2, *image), cross.dtype), variation, mask
    )
    # Small beside the largest curvature, large beside the many that are nearly zero.
    rho = 1e-4 * jnp.trace(gram)
    state = start_spatial(jnp.zeros_like(cross), image, rho)
    state = fit_spatial(problem, state, image=image, coupled=False, tol=tol, max_steps=max_steps)
    return state.copy, state.error
