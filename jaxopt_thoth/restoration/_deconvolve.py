from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._blur import Blur
from ._differences import Prior, prior_product, require_prior
from ._downsample import Downsample
from ._images import as_cube, as_kernel, Boundary, require_boundary
from ._normal_equations import read_tolerance, solve_normal
from ._restoration import ending, Restoration


def deconvolve(
    cube: ArrayLike,
    kernel: ArrayLike,
    *,
    strength: ArrayLike,
    prior: Prior = "gradient",
    ridge: ArrayLike = 0.0,
    factor: int | tuple[int, int] = 1,
    offset: int | tuple[int, int] = 0,
    boundary: Boundary = "symmetric",
    tol: ArrayLike | None = None,
    max_steps: int = 500,
) -> Restoration:
    """Undo the blur, and with a factor the coarse pixels, of every band by regularized least squares.

    Minimizes `|M B x - y|^2 / 2 + strength |P x|^2 / 2 + ridge |x|^2 / 2` for each band y, where B is `Blur(kernel)`, M
    is `Downsample(factor, offset)` and P x is x itself, its differences to the next row and column, or their Laplacian.
    The normal equations are solved by conjugate gradient, one band beside the other, and differentiated as equations.
    The sums are over pixels. Sentinel-5P radiances are deconvolved in this way, with the across-track and the
    along-track response of each detector in the separable kernel, one kernel for each band.

    Args:
        cube: y, (h, w, L), finite.
        kernel: (a, b), or (a, b, L) with one for each band, on the fine grid; (a, 1) or (1, b) for a response along
            one axis.
        strength: of the prior, nonnegative, a scalar or (L,).
        prior: "identity", "gradient" or "laplacian"; static.
        ridge: strength of the squared values, nonnegative; it keeps finite what neither data nor prior determine.
        factor: ratio of the grids, one integer or one for rows and one for columns; static.
        offset: of the first coarse pixel on the fine grid; static.
        boundary: as in `Blur`; with "periodic" the differences wrap around too, else they end at the border; static.
        tol: tolerance on the residual of the normal equations, relative to their right-hand side; 1e-8 in float64 and
            1e-4 in float32 by default.
        max_steps: bound on the number of steps; static.

    Returns:
        `Restoration` with the cube (h * factor, w * factor, L).

    Raises:
        ValueError: for data that is not finite or has another shape, an unknown prior or boundary, or settings out of
            range.

    Source: P. Eilers, C. Ruckebusch, "Fast and simple super-resolution with single images", 2022; A. Carbone, R.
    Restaino, G. Vivone, J. Chanussot, "Model-based super-resolution for Sentinel-5P data", 2024, who penalize
    mixed differences.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> truth = jnp.zeros((8, 8, 1)).at[2:5, 3:6].set(1.0)
        >>> kernel = jnp.array([[0.2, 0.6, 0.2]])
        >>> blurred = restoration.Blur(kernel, "symmetric")(truth)
        >>> found = restoration.deconvolve(blurred, kernel, strength=1e-5)
        >>> print(bool(jnp.abs(found.cube - truth).max() < 1e-3))
        True
    """
    data = as_cube(cube, "cube")
    bands = data.shape[2]
    weights = as_kernel(kernel, data.dtype)
    if weights.ndim == 3 and weights.shape[2] != bands:
        raise ValueError(f"kernel must have {bands} bands like cube, got {weights.shape[2]}.")
    keep = Downsample(factor, offset)
    require_prior(prior)
    require_boundary(boundary)
    require_nonnegative(strength, "strength")
    require_nonnegative(ridge, "ridge")
    level = _tree.setting(strength).astype(data.dtype)
    if level.shape not in ((), (bands,)):
        raise ValueError(f"strength must be a scalar or ({bands},), one number for each band, got {level.shape}.")
    rtol = read_tolerance(tol, max_steps, data.dtype)
    found, error, steps = _deconvolve(
        data,
        weights,
        jnp.broadcast_to(level, (bands,)),
        _tree.setting(ridge).astype(data.dtype),
        rtol,
        keep=keep,
        prior=prior,
        boundary=boundary,
        max_steps=max_steps,
    )
    return Restoration(found, ending(error, rtol), error, steps)


@partial(jax.jit, static_argnames=("keep", "prior", "boundary", "max_steps"))
def _deconvolve(
    data: Array,
    kernel: Array,
    strength: Array,
    ridge: Scalar,
    tol: Scalar,
    *,
    keep: Downsample,
    prior: Prior,
    boundary: Boundary,
    max_steps: int,
) -> tuple[Array, Scalar, Array]:
    def one_band(band: Array, kernel: Array, strength: Scalar) -> tuple[Array, Scalar, Array]:
        blur = Blur(kernel, boundary)

        def matvec(x: Array) -> Array:
            fit = blur.transpose(keep.transpose(keep(blur(x))))
            return fit + strength * prior_product(x, prior, boundary == "periodic") + ridge * x

        return solve_normal(matvec, blur.transpose(keep.transpose(band)), tol, max_steps)

    axes = (-1, -1 if kernel.ndim == 3 else None, 0)
    cube, errors, steps = jax.vmap(one_band, in_axes=axes, out_axes=(-1, 0, 0))(data, kernel, strength)
    return cube, jnp.max(errors), jnp.max(steps)
