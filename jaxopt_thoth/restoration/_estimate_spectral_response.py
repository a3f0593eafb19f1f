from functools import partial

import jax
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative
from ._images import as_cube, high_precision, require_grids, require_same_dtype
from ._nonnegative_fit import fit_nonnegative, spectral_roughness
from ._normal_equations import read_tolerance
from ._restoration import ending
from ._sensor_estimate import SensorEstimate


def estimate_spectral_response(
    hyperspectral: ArrayLike,
    multispectral: ArrayLike,
    *,
    smoothness: ArrayLike = 1e-2,
    sum_to_one: bool = False,
    tol: ArrayLike | None = None,
    max_steps: int = 200,
) -> SensorEstimate:
    """The nonnegative response R of each multispectral band to the hyperspectral ones, from one scene on one grid.

    Minimizes for each row r of R `mean over pixels of (r'x_n - y_n)^2 / 2 + smoothness t |D r|^2 / 2` over `r >= 0`,
    with D the differences of neighboring bands and t the mean square of the hyperspectral values, so that the
    smoothness has no unit. Spectra span few dimensions: what they do not tell of R is left to the smoothness.

    Args:
        hyperspectral: (H, W, L), finite.
        multispectral: (H, W, l) of the same pixels; blur and decimate a finer one first, or use `estimate_sensors`.
        smoothness: nonnegative, a scalar.
        sum_to_one: whether the rows sum to one, for images in one unit; static.
        tol: tolerance of the solver, `SemismoothNewton`; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on its steps; static.

    Returns:
        `SensorEstimate` with the response (l, L).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, or settings out of range.

    Source: M. Simoes, J. Bioucas-Dias, L. Almeida, J. Chanussot, "A convex formulation for hyperspectral image
    superresolution via subspace-based regularization", 2015, there without the constraint.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> cube = jax.random.uniform(jax.random.key(0), (6, 6, 3))
        >>> response = jnp.array([[0.0, 0.5, 0.5]])
        >>> found = restoration.estimate_spectral_response(cube, cube @ response.T, smoothness=0.0)
        >>> print(jnp.abs(found.response - response).max() < 1e-3)
        True
    """
    cube, image = as_cube(hyperspectral, "hyperspectral"), as_cube(multispectral, "multispectral")
    names = "hyperspectral and multispectral"
    require_same_dtype(cube, image, names)
    require_grids(cube, image, (1, 1), names)
    require_nonnegative(smoothness, "smoothness")
    rtol = read_tolerance(tol, max_steps, cube.dtype)
    level = _tree.setting(smoothness).astype(cube.dtype)
    found, error, steps = _estimate(cube, image, level, rtol, sum_to_one=sum_to_one, max_steps=max_steps)
    return SensorEstimate(found, None, ending(error, rtol), error, steps)


@partial(jax.jit, static_argnames=("sum_to_one", "max_steps"))
def _estimate(
    cube: Array, image: Array, smoothness: Scalar, tol: Scalar, *, sum_to_one: bool, max_steps: int
) -> tuple[Array, Scalar, IntScalar]:
    return fit_response(cube, image, smoothness, tol, sum_to_one=sum_to_one, max_steps=max_steps)


def fit_response(
    cube: Array, image: Array, smoothness: Scalar, tol: Scalar, *, sum_to_one: bool, max_steps: int
) -> tuple[Array, Scalar, IntScalar]:
    """The response (l, L) of two cubes on one grid."""
    count = cube.shape[0] * cube.shape[1]
    spectra, values = (x.reshape(count, -1) for x in (cube, image))
    gram, cross = high_precision(spectra.T, spectra) / count, high_precision(spectra.T, values) / count
    roughness = spectral_roughness(gram.shape[0], gram.dtype)
    found, error, steps = fit_nonnegative(
        gram, cross, roughness, smoothness, tol, sum_to_one=sum_to_one, max_steps=max_steps
    )
    return found.T, error, steps
