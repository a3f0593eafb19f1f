from operator import index
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._result import RESULTS
from ._checks import as_spectra, same_dtype
from ._pixel_input import as_given, image_of, PixelInput, read_pixels
from ._scene import Scene
from ._unmixing import Unmixing


class LibraryInput(NamedTuple):
    """What a library method works on: pixels (L, N) with zeros where masked, the mask, the library, the image."""

    pixels: Float[Array, "L N"]
    mask: Bool[Array, " N"]
    library: Float[Array, "L M"]
    image: tuple[int, int] | None
    given: PixelInput


def read_library(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    num_endmembers: int | None,
    mask: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    *,
    spatial: bool = False,
) -> LibraryInput:
    """Checked pixels and library; `spatial` methods need the image shape of a matrix as well.

    Raises:
        ValueError: for a library of other bands or dtype, or too many endmembers; or an image shape that is missing
            or does not hold all pixels.
    """
    given = read_pixels(pixels, mask)
    atoms = as_spectra(library, "library", "(L, M)")
    same_dtype(given.values, "pixels", atoms, "library")
    if atoms.shape[0] != given.values.shape[0]:
        raise ValueError(
            f"pixels {given.values.shape} and library {atoms.shape} must have as many bands (rows); resample one."
        )
    if num_endmembers is not None:
        try:
            count = index(num_endmembers)
        except TypeError:
            raise ValueError(f"num_endmembers must be a static integer, got {num_endmembers!r}; pass an int.") from None
        if not 1 <= count <= atoms.shape[1]:
            raise ValueError(f"num_endmembers must be between 1 and {atoms.shape[1]} (atoms), got {count}.")
    image = image_of(pixels, given, image_shape, needed=spatial)
    values = jnp.where(given.mask[None, :], given.values, 0)
    return LibraryInput(values, given.mask, atoms, image, given)


def from_abundances(
    task: LibraryInput,
    abundances: Float[Array, "M N"],
    num_endmembers: int | None,
    result: RESULTS,
    diagnostics: dict[str, Array] | None = None,
) -> Unmixing:
    """The result of a method that gives a fraction of each atom: endmembers are the p atoms of the largest total."""
    atoms = task.library.shape[1]
    if num_endmembers is None:
        chosen = jnp.arange(atoms)
    else:
        totals = jnp.sum(jnp.where(task.mask[None, :], jnp.abs(abundances), 0), axis=1)
        chosen = jnp.argsort(-totals)[:num_endmembers]
    known = jnp.where(task.mask[None, :], abundances, jnp.nan)
    return as_given(
        Unmixing(
            endmembers=task.library[:, chosen],
            abundances=known[chosen],
            result=result,
            indices=chosen,
            diagnostics=diagnostics,
            library_abundances=known,
        ),
        task.given,
    )


def from_factors(
    task: LibraryInput,
    weights: Float[Array, "M p"],
    abundances: Float[Array, "p N"],
    result: RESULTS,
    diagnostics: dict[str, Array],
) -> Unmixing:
    """The result of a method that gives endmembers `D B`: the fractions of the atoms are `B A`."""
    endmembers = jnp.matmul(task.library, weights, precision="highest")
    known = jnp.where(task.mask[None, :], abundances, jnp.nan)
    finite = jnp.all(jnp.isfinite(endmembers)) & _tree.all_finite(abundances)
    return as_given(
        Unmixing(
            endmembers=endmembers,
            abundances=known,
            result=RESULTS.where(finite, result, RESULTS.nonfinite),
            indices=jnp.argmax(weights, axis=0),
            weights=weights,
            diagnostics=diagnostics,
            library_abundances=jnp.matmul(weights, known, precision="highest"),
        ),
        task.given,
    )
