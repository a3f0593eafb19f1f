from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._result import RESULTS
from .._types import IntScalar, Scalar
from ..penalties import L2Squared, SeparableSum, Translated
from ..problems import SaddlePoint
from ..solvers import ChambollePock, solve
from ._blur import Blur
from ._differences import prior_product, require_prior
from ._downsample import Downsample
from ._fusion_input import FusionTask, read_fusion
from ._images import Boundary, high_precision, require_boundary
from ._normal_equations import read_tolerance, solve_normal
from ._restoration import ending, Restoration
from ._total_variation import edge_lengths, edges
from ._upsample import upsample


FusionPrior = Literal["total_variation", "identity", "gradient", "laplacian"]


def fuse_variational(
    hyperspectral: ArrayLike,
    multispectral: ArrayLike,
    kernel: ArrayLike,
    response: ArrayLike,
    *,
    factor: int | tuple[int, int],
    offset: int | tuple[int, int] = 0,
    rank: int | None = None,
    weight: ArrayLike = 1.0,
    strength: ArrayLike = 1e-3,
    prior: FusionPrior = "total_variation",
    boundary: Boundary = "symmetric",
    tol: ArrayLike | None = None,
    max_steps: int = 5000,
) -> Restoration:
    """Fuse a coarse hyperspectral and a fine multispectral image under a prior of smooth or piecewise constant maps.

    Of all cubes X = A U' whose spectra lie in the span of `rank` principal spectra U of the hyperspectral image, the
    one that minimizes `|M B X - Y_h|^2 / 2 + weight |X R' - Y_m|^2 / 2 + strength g(A)`. The vector total variation
    g sums the lengths of the differences to the next row and column of all coordinates of a pixel, which aligns edges,
    and is solved for by the method of Chambolle and Pock; the quadratic priors are those of `deconvolve`, half the
    squared norm of `A - A_0` and its differences with the cubic interpolation A_0, by conjugate gradient. Unlike
    `fuse`, any border will do. Derivatives hold U constant.

    Args:
        hyperspectral, multispectral, kernel, response, factor, offset, rank, weight: as in `fuse`.
        strength: of the prior, nonnegative.
        prior: "total_variation", or quadratic: "identity", "gradient" or "laplacian"; static.
        boundary: as in `Blur`; static.
        tol: tolerance on the relative residual of the optimality conditions; 1e-4 by default.
        max_steps: bound on the number of steps; static.

    Returns:
        `Restoration` with the fused cube (H, W, L).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, an unknown prior or boundary, or settings
            out of range.

    Source: M. Simoes, J. Bioucas-Dias, L. Almeida, J. Chanussot, "A convex formulation for hyperspectral image
    superresolution via subspace-based regularization", 2015, solved there by an alternating direction method.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> maps = jnp.zeros((8, 8, 2)).at[2:5, 3:7, 0].set(1.0).at[4:, :4, 1].set(1.0)
        >>> truth = maps @ jnp.array([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]])
        >>> kernel, response = jnp.full((3, 3), 1 / 9), jnp.ones((1, 3))
        >>> coarse = restoration.Downsample(2)(restoration.Blur(kernel, "symmetric")(truth))
        >>> fused = restoration.fuse_variational(coarse, truth @ response.T, kernel, response, factor=2, rank=2)
        >>> print(jnp.abs(fused.cube - truth).max() < 0.1)
        True
    """
    keep = Downsample(factor, offset)
    if prior != "total_variation":
        require_prior(prior)
    require_boundary(boundary)
    task = read_fusion(hyperspectral, multispectral, kernel, response, rank, keep, weight, strength)
    rtol = read_tolerance(1e-4 if tol is None else tol, max_steps, task.fine.dtype)
    if prior == "total_variation":
        cube, result, error, steps = _piecewise(task, rtol, keep=keep, boundary=boundary, max_steps=max_steps)
        return Restoration(cube, result, error, steps)
    cube, error, steps = _smooth(task, rtol, keep=keep, prior=prior, boundary=boundary, max_steps=max_steps)
    return Restoration(cube, ending(error, rtol), error, steps)


@partial(jax.jit, static_argnames=("keep", "boundary", "max_steps"))
def _piecewise(
    task: FusionTask, tol: Scalar, *, keep: Downsample, boundary: Boundary, max_steps: int
) -> tuple[Array, RESULTS, Scalar, IntScalar]:
    blur = Blur(task.kernel, boundary)
    start = upsample(task.coarse, keep.factor, keep.offset)
    root = _tree.safe_sqrt(task.weight)
    half_square = L2Squared(jnp.ones((), start.dtype))
    fits = Translated(half_square, task.coarse), Translated(half_square, root * task.fine)

    def images(x: Array) -> tuple[Array, Array, Array]:
        return keep(blur(x)), root * high_precision(x, task.mixing.T), edges(x, boundary == "periodic", True)

    problem = SaddlePoint(None, None, SeparableSum((*fits, edge_lengths(start, task.strength, True))), images)
    solution = solve(problem, ChambollePock(restart=False, tol=tol, max_steps=max_steps), start)
    cube = high_precision(solution.params[0], task.basis.T)
    return cube, solution.result, solution.error, solution.num_steps


@partial(jax.jit, static_argnames=("keep", "prior", "boundary", "max_steps"))
def _smooth(
    task: FusionTask, tol: Scalar, *, keep: Downsample, prior: FusionPrior, boundary: Boundary, max_steps: int
) -> tuple[Array, Scalar, IntScalar]:
    blur = Blur(task.kernel, boundary)
    first = upsample(task.coarse, keep.factor, keep.offset)
    inner = task.weight * high_precision(task.mixing.T, task.mixing)

    def rough(x: Array) -> Array:
        return task.strength * prior_product(x, prior, boundary == "periodic")  # type: ignore[arg-type]

    def matvec(x: Array) -> Array:
        return blur.transpose(keep.transpose(keep(blur(x)))) + high_precision(x, inner) + rough(x)

    # In the difference from the interpolation, where the right-hand side is small.
    misfit = task.coarse - keep(blur(first))
    missing = task.fine - high_precision(first, task.mixing.T)
    right = blur.transpose(keep.transpose(misfit)) + task.weight * high_precision(missing, task.mixing)
    found, error, steps = solve_normal(matvec, right, tol, max_steps)
    return high_precision(first + found, task.basis.T), error, steps
