"""A whole image in memory as a few numbers a pixel: its leading components, from two passes over the file."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._scaled_pixels import Normalization, scale_pixels, ScaledPixels
from .._scene_error import SceneError
from ._read_ahead import read_ahead
from ._source import SceneSource
from ._tile_plan import plan_tiles, TilePlan


Progress = Callable[[str, int, int], None] | None


class Compressed(NamedTuple):
    """Normalized pixels in r leading components.

    `values` are the coordinates, zero where `mask` is false; `outside` is the squared norm of what the components leave
    out of all pixels.
    """

    values: Float[np.ndarray, "r N"]
    mask: Bool[np.ndarray, " N"]
    outside: float


def compress(
    source: SceneSource, rank: int, normalization: Normalization, plan: TilePlan, progress: Progress
) -> Compressed:
    """The coordinates of all pixels in the leading eigenvectors of their Gram matrix."""
    gram = np.zeros((source.num_bands, source.num_bands))
    for _, tile in _tiles(source, normalization, plan, "gram", progress):
        # Sums of tiles in double precision: a scene has hundreds of them.
        gram += np.asarray(_gram(tile))
    energies, vectors = np.linalg.eigh(gram)
    if not energies[-1] > 0:
        raise SceneError(f"{source.path.name}: no pixel is valid: every one is masked, zero or without data.")
    dtype = jnp.result_type(float)
    # Signs as those that `edaa` chooses, for the same random starts.
    leading = vectors[:, ::-1][:, :rank] * np.where(vectors.sum(axis=0) < 0, -1, 1)[::-1][:rank]
    basis = jnp.asarray(leading.astype(dtype))
    values = np.zeros((rank, source.num_pixels), dtype)
    mask = np.zeros(source.num_pixels, bool)
    for pixels, tile in _tiles(source, normalization, plan, "components", progress):
        count = pixels.stop - pixels.start
        values[:, pixels] = np.asarray(_coordinates(tile, basis))[:, :count]
        mask[pixels] = np.asarray(tile.scale)[:count] > 0
    return Compressed(values, mask, float(np.maximum(energies[::-1][rank:], 0).sum()))


def combine_pixels_of(
    source: SceneSource,
    weights: Float[np.ndarray, "N p"],
    normalization: Normalization,
    plan: TilePlan,
    progress: Progress,
) -> Float[np.ndarray, "L p"]:
    """Combinations of the normalized pixels of the file, of all bands."""
    spectra = np.zeros((source.num_bands, weights.shape[1]))
    for pixels, tile in _tiles(source, normalization, plan, "endmembers", progress):
        here = np.zeros((weights.shape[1], tile.scale.size), weights.dtype)
        here[:, : pixels.stop - pixels.start] = weights[pixels].T
        spectra += np.asarray(_combine(tile, jnp.asarray(here)))
    return spectra


def plan_compressed(source: SceneSource, num_endmembers: int, rank: int, memory: float) -> TilePlan:
    """Tiles for what the components and one run on them leave of `memory`; `SceneError` when that is not one row.

    Counted for each pixel of the image: its components on the host and on the device, its scale and its mask, and ten
    numbers for each endmember: logits, fractions and correlations of the abundances, logits and weights of the pixels,
    each with the temporary of its update.
    """
    size = np.dtype(jnp.result_type(float)).itemsize
    held = source.num_pixels * size * (2 * rank + 2 + 10 * num_endmembers)
    row = plan_tiles(source, num_endmembers, 1e18).bytes_per_row
    if not memory >= held + row:
        raise SceneError(
            f"{source.path.name}: memory must be at least {held + row} bytes for {rank} components and "
            f"{num_endmembers} endmembers of {source.num_pixels} pixels, got {memory:g}; lower the rank, or take the "
            "endmembers from a sample by unmix_tiles."
        )
    return plan_tiles(source, num_endmembers, memory - held)


def _tiles(
    source: SceneSource, normalization: Normalization, plan: TilePlan, stage: str, progress: Progress
) -> Iterator[tuple[slice, ScaledPixels]]:
    """Places of pixels and their values, all tiles of one shape, filled up with pixels of scale zero."""
    tiles = plan.tiles(0, source.height)
    number = 0
    # Counted by hand: `enumerate` would hold the tile before while it waits for the next one.
    for (start, stop), values in read_ahead(source, tiles):
        number += 1  # noqa: SIM113
        valid = np.isfinite(values).all(axis=0)
        if valid.any():
            size = plan.rows * source.width
            pixels, usable = np.zeros((source.num_bands, size), values.dtype), np.zeros(size, bool)
            np.copyto(pixels[:, : valid.size], values, where=valid[None, :])
            usable[: valid.size] = valid
            del values
            yield (
                slice(start * source.width, stop * source.width),
                _scaled(jnp.asarray(pixels), jnp.asarray(usable), normalization),
            )
            del pixels
        if progress is not None:
            progress(stage, number, len(tiles))


@partial(jax.jit, static_argnames="normalization")
def _scaled(pixels: Array, valid: Array, normalization: Normalization) -> ScaledPixels:
    return scale_pixels(pixels, normalization, valid)


@jax.jit
def _gram(tile: ScaledPixels) -> Array:
    return tile.gram()


@jax.jit
def _coordinates(tile: ScaledPixels, basis: Array) -> Array:
    return tile.project(basis)


@jax.jit
def _combine(tile: ScaledPixels, weights: Array) -> Array:
    return tile.combine(weights)
