from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative
from ._downsample import Downsample
from ._images import (
    as_cube,
    as_kernel,
    high_precision,
    require_count,
    require_finite,
    require_grids,
    require_same_dtype,
)


class FusionTask(NamedTuple):
    """Two images of one scene, seen from the subspace of its spectra.

    Attributes:
        coarse: coordinates of the hyperspectral image, (h, w, r).
        fine: the multispectral image, (H, W, l).
        kernel: the point spread, (a, b).
        mixing: the response to the coordinates, (l, r).
        basis: orthonormal columns that span the spectra, (L, r).
        weight: of the fit to the multispectral image.
        strength: of the prior.
    """

    coarse: Float[Array, "h w r"]
    fine: Float[Array, "H W l"]
    kernel: Float[Array, "a b"]
    mixing: Float[Array, "l r"]
    basis: Float[Array, "L r"]
    weight: Float[Array, ""]
    strength: Float[Array, ""]


def read_fusion(
    hyperspectral: ArrayLike,
    multispectral: ArrayLike,
    kernel: ArrayLike,
    response: ArrayLike,
    rank: int | None,
    keep: Downsample,
    weight: ArrayLike,
    strength: ArrayLike,
) -> FusionTask:
    """The task of two checked cubes; raises `ValueError` where they do not fit."""
    cube, image = as_cube(hyperspectral, "hyperspectral"), as_cube(multispectral, "multispectral")
    names = "hyperspectral and multispectral"
    require_same_dtype(cube, image, names)
    require_grids(cube, image, keep.factor, names)
    spread = as_kernel(kernel, cube.dtype)
    if spread.ndim != 2:
        raise ValueError(f"kernel must be one for all bands, (a, b), got {spread.shape}; the subspace mixes the bands.")
    expected = image.shape[2], cube.shape[2]
    rows = jnp.asarray(response).astype(cube.dtype)
    if rows.shape != expected:
        raise ValueError(f"response must have shape (l, L) = {expected}, got {rows.shape}; transpose it or mend it.")
    require_finite(rows, "response")
    require_nonnegative(weight, "weight")
    require_nonnegative(strength, "strength")
    bands = cube.shape[2]
    if rank is None:
        basis = jnp.eye(bands, dtype=cube.dtype)
    else:
        require_count(rank, "rank")
        if rank > min(bands, cube.shape[0] * cube.shape[1]):
            raise ValueError(f"rank must be at most the number of bands {bands} and of coarse pixels, got {rank}.")
        spectra = jax.lax.stop_gradient(cube.reshape(-1, bands))
        # The eigenvectors of one cluster turn at will, though the subspace does not: no derivative is taken through it.
        basis = jnp.linalg.svd(spectra, full_matrices=False)[2][:rank].T
    level, prior = (_tree.setting(value).astype(cube.dtype) for value in (weight, strength))
    for name, value in (("weight", level), ("strength", prior)):
        if value.ndim:
            raise ValueError(f"{name} must be a scalar, got shape {value.shape}; map over several by jax.vmap.")
    return FusionTask(high_precision(cube, basis), image, spread, high_precision(rows, basis), basis, level, prior)
