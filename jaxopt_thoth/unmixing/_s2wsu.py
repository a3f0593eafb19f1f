from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ..smooth import Quadratic
from ._library_fit import least_squares, unit_of
from ._library_input import from_abundances, read_library
from ._scene import Scene
from ._unmixing import Unmixing


# Change of the abundances over the last reweighting, relative to their norm, below which they count as settled.
_SETTLED = 0.01
# Weight of the constraint on the image `D X`, to the fit, and of those on copies of X to it, in units of the mean
# square of the library: the published 0.5 and 1 for reflectances, whatever the unit.
_FIT_WEIGHT = 0.5
_COPY_WEIGHT = 4.0


class _Blocks(NamedTuple):
    """`D'` of the copy of `D X` and of its scaled multiplier; two copies of X, and theirs."""

    fit: Float[Array, "M N"]
    fit_dual: Float[Array, "M N"]
    sparse: Float[Array, "M N"]
    sparse_dual: Float[Array, "M N"]
    sign: Float[Array, "M N"]
    sign_dual: Float[Array, "M N"]


def s2wsu(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 1e-3,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray | None = None,
    image_shape: tuple[int, int] | None = None,
    floor: ArrayLike = 0.01,
    reweightings: int = 60,
    inner_steps: int = 5,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Spectral-spatial weighted sparse unmixing: `sunsal` with weights from each atom's row and each pixel's neighbors.

    The l1 norm weighs an entry by `1 / (floor + mean of its 8 neighbors) / |its row|_2`, the corners of the mean by
    `1 / sqrt(2)` of the edges: atoms that the image uses little, and abundances that the neighbors do not share, are
    pushed to zero. A few steps of ADMM, from the ridge solution, follow each reweighting; one inverse serves them all.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the weighted l1 norm, a nonnegative scalar; it grows with the noise.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: not used; library methods are called alike.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        floor: added to the means of neighbors, positive.
        reweightings: how often the weights are renewed.
        inner_steps: steps of ADMM with the same weights.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with `library_abundances` (M, N), zeros exact, and the `indices` of the endmembers; maps are
        (.., H, W) for a cube, and NaN where masked. `result` is `max_steps_reached` when the last reweighting still
        moved the abundances by 1 per cent.

    Raises:
        ValueError: for a library of other bands or dtype, settings out of range, or a missing image shape.

    Source: S. Zhang, J. Li, H.-C. Li, C. Deng, A. Plaza, "Spectral-spatial weighted sparse regression for
    hyperspectral image unmixing", 2018.

    Example:
        >>> import jax.numpy as jnp
        >>> cube = jnp.zeros((4, 4, 2)).at[:, :, 0].set(1.0).at[1, 1, 1].set(0.2)
        >>> print(s2wsu(cube, jnp.eye(2), 0.1).library_abundances[1].max().round(2))
        0.0
    """
    task = read_library(pixels, library, num_endmembers, mask, image_shape, spatial=True)
    require_nonnegative(strength, "strength")
    require_positive(floor, "floor")
    if reweightings < 1 or inner_steps < 1:
        raise ValueError(f"reweightings and inner_steps must be at least 1, got {reweightings} and {inner_steps}.")
    dtype = task.pixels.dtype
    maps, change = _s2wsu(
        least_squares(task),
        _tree.setting(strength).astype(dtype) / unit_of(task),
        _tree.setting(floor).astype(dtype),
        image=task.image,
        reweightings=reweightings,
        inner_steps=inner_steps,
    )
    result = RESULTS.where(change <= _SETTLED, RESULTS.converged, RESULTS.max_steps_reached)
    result = RESULTS.where(jnp.isfinite(change), result, RESULTS.nonfinite)
    return from_abundances(task, maps, num_endmembers, result)


def neighbor_means(maps: Float[Array, "M H W"]) -> Float[Array, "M H W"]:
    """Weighted means of the 8 neighbors, 1 for edges and `1 / sqrt(2)` for corners; outside the image is zero."""
    padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1)))
    middle = padded[:, 1:-1, :]
    edges = middle[:, :, 2:] + middle[:, :, :-2] + padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1]
    sides = padded[:, 2:, :] + padded[:, :-2, :]
    corners = sides[:, :, 2:] + sides[:, :, :-2]
    corner = 0.5**0.5
    return (edges + corner * corners) / (4 + 4 * corner)


@partial(jax.jit, static_argnames=("image", "reweightings", "inner_steps"))
def _s2wsu(
    smooth: Quadratic, strength: Scalar, floor: Scalar, *, image: tuple[int, int], reweightings: int, inner_steps: int
) -> tuple[Array, Scalar]:
    """Abundances, and their relative change over the last reweighting; the unit is the mean square of the library.

    Three constraints: on the image `D X`, which splits the fit off, and on two copies of X, for the norm and the sign.
    The splitting is not run to the end between reweightings, so that its start and weights are part of the method.
    """
    dtype = strength.dtype
    eps = jnp.finfo(dtype).eps
    count = smooth.vector.shape[0]
    gram, cross = smooth.matrix.columns(jnp.arange(count)), -smooth.vector
    ridge = 2 * _COPY_WEIGHT * jnp.eye(count, dtype=dtype)
    factor = jnp.linalg.inv(gram + ridge)
    inverse = (factor + factor.T) / 2
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

    def inner(blocks: _Blocks, threshold: Array) -> _Blocks:
        # The copies enter by the images D' V and D' d alone, and D'D X is what the solve leaves: one product a step.
        right = (
            blocks.fit
            + blocks.fit_dual
            + _COPY_WEIGHT * (blocks.sparse + blocks.sparse_dual + blocks.sign + blocks.sign_dual)
        )
        maps = product(inverse, right)
        image_of_maps = right - 2 * _COPY_WEIGHT * maps
        fit = (cross + _FIT_WEIGHT * (image_of_maps - blocks.fit_dual)) / (1 + _FIT_WEIGHT)
        moved, free = maps - blocks.sparse_dual, maps - blocks.sign_dual
        sparse = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - threshold, 0)
        sign = jnp.maximum(free, 0)
        return _Blocks(fit, blocks.fit_dual - image_of_maps + fit, sparse, sparse - moved, sign, sign - free)

    def renew(blocks: _Blocks, _: None) -> tuple[_Blocks, Scalar]:
        # Before the threshold: entries that it has set to zero are weighed by what they would be.
        raw = blocks.sparse - blocks.sparse_dual
        near = jnp.abs(neighbor_means(raw.reshape(-1, *image)).reshape(raw.shape))
        rows = _tree.safe_sqrt(jnp.sum(raw * raw, axis=1, keepdims=True))
        # A row of zeros keeps a finite weight, so that it may come back.
        row_floor = eps**0.5 * jnp.maximum(jnp.max(rows), eps)
        threshold = strength / (_FIT_WEIGHT * _COPY_WEIGHT) / ((floor + near) * jnp.maximum(rows, row_floor))
        new = jax.lax.scan(lambda c, _: (inner(c, threshold), None), blocks, None, length=inner_steps)[0]
        change = _tree.norm(new.sparse - blocks.sparse) / jnp.maximum(_tree.norm(new.sparse), eps)
        return new, change

    start = product(inverse, cross)
    zero = jnp.zeros_like(start)
    blocks = _Blocks(product(gram, start), zero, start, zero, start, zero)
    blocks, changes = jax.lax.scan(renew, blocks, None, length=reweightings)
    return jnp.maximum(blocks.sparse, 0), changes[-1]
