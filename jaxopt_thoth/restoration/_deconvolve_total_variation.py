from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._result import RESULTS
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative, require_ordered
from ..penalties import Box, L2Squared, SeparableSum, Translated
from ..problems import SaddlePoint
from ..solvers import ChambollePock, solve
from ._blur import Blur
from ._downsample import Downsample
from ._images import as_cube, as_kernel, Boundary, require_boundary
from ._normal_equations import read_tolerance
from ._restoration import Restoration
from ._total_variation import edge_lengths, edges
from ._upsample import upsample


def deconvolve_total_variation(
    cube: ArrayLike,
    kernel: ArrayLike,
    *,
    strength: ArrayLike,
    coupled: bool = True,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    factor: int | tuple[int, int] = 1,
    offset: int | tuple[int, int] = 0,
    boundary: Boundary = "symmetric",
    tol: ArrayLike | None = None,
    max_steps: int = 5000,
) -> Restoration:
    """Undo the blur, and with a factor the coarse pixels, by least squares and total variation, which keeps edges.

    Minimizes `|M B x - y|^2 / 2 + strength TV(x)` over the whole cube x, with B and M as in `deconvolve`, by the
    method of Chambolle and Pock on the images of x under the data and under the differences; no linear system is
    solved. TV sums the Euclidean lengths of the differences to the next row and column over pixels: `coupled`, of all
    bands of a pixel together, so that their edges coincide, else band by band.

    Args:
        cube, kernel, factor, offset, boundary: as in `deconvolve`; values of about one, for which the tolerance is
            meant.
        strength: of the total variation, a nonnegative scalar.
        coupled: whether the bands share their edges; static.
        bounds: a lower and an upper bound of all values, as (0, 1) for reflectances; without bounds none.
        tol: tolerance on the relative residual of the optimality conditions; 1e-4 by default.
        max_steps: bound on the number of steps; static.

    Returns:
        `Restoration` with the cube (h * factor, w * factor, L).

    Raises:
        ValueError: for data that is not finite or has another shape, an unknown boundary, or settings out of range.

    Source: L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", 1992; A.
    Chambolle, T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging", 2011;
    X. Bresson, T. Chan, "Fast dual minimization of the vectorial total variation norm", 2008.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> truth = jnp.zeros((8, 8, 1)).at[2:5, 3:6].set(1.0)
        >>> kernel = jnp.array([[0.2, 0.6, 0.2]])
        >>> blurred = restoration.Blur(kernel, "symmetric")(truth)
        >>> found = restoration.deconvolve_total_variation(blurred, kernel, strength=1e-3)
        >>> print(bool(jnp.abs(found.cube - truth).max() < 0.02))
        True
    """
    data = as_cube(cube, "cube")
    weights = as_kernel(kernel, data.dtype)
    if weights.ndim == 3 and weights.shape[2] != data.shape[2]:
        raise ValueError(f"kernel must have {data.shape[2]} bands like cube, got {weights.shape[2]}.")
    keep = Downsample(factor, offset)
    require_boundary(boundary)
    require_nonnegative(strength, "strength")
    limits = None
    if bounds is not None:
        require_ordered(*bounds)
        limits = tuple(_tree.setting(value).astype(data.dtype) for value in bounds)
    cube_found, result, error, steps = _solve(
        data,
        weights,
        _tree.setting(strength).astype(data.dtype),
        limits,
        read_tolerance(1e-4 if tol is None else tol, max_steps, data.dtype),
        keep=keep,
        coupled=coupled,
        boundary=boundary,
        max_steps=max_steps,
    )
    return Restoration(cube_found, result, error, steps)


@partial(jax.jit, static_argnames=("keep", "coupled", "boundary", "max_steps"))
def _solve(
    data: Array,
    kernel: Array,
    strength: Scalar,
    limits: tuple[Scalar, Scalar] | None,
    tol: Scalar,
    *,
    keep: Downsample,
    coupled: bool,
    boundary: Boundary,
    max_steps: int,
) -> tuple[Array, RESULTS, Scalar, IntScalar]:
    blur = Blur(kernel, boundary)
    start = upsample(data, keep.factor, keep.offset)
    periodic = boundary == "periodic"
    fit = Translated(L2Squared(jnp.ones((), data.dtype)), data)
    problem = SaddlePoint(
        None,
        None if limits is None else Box(*limits),
        SeparableSum((fit, edge_lengths(start, strength, coupled))),
        lambda x: (keep(blur(x)), edges(x, periodic, coupled)),
    )
    solution = solve(problem, ChambollePock(restart=False, tol=tol, max_steps=max_steps), start)
    return solution.params[0], solution.result, solution.error, solution.num_steps
