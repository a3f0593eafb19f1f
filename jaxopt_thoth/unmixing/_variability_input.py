from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._result import RESULTS
from ._alternate import Descent
from ._mixing_model import read_supervised
from ._pixel_input import as_given, image_of, PixelInput
from ._scene import Scene
from ._unmixing import Unmixing


class VariabilityInput(NamedTuple):
    """Pixels (L, N) with zeros where masked, the mask, reference spectra (L, p), and the image shape where known."""

    pixels: Float[Array, "L N"]
    mask: Bool[Array, " N"]
    spectra: Float[Array, "L p"]
    image: tuple[int, int] | None
    given: PixelInput


def read_variability(
    pixels: ArrayLike | Scene,
    endmembers: ArrayLike,
    mask: ArrayLike | None,
    image_shape: tuple[int, int] | None = None,
    *,
    spatial: bool = False,
) -> VariabilityInput:
    """Checked pixels and reference endmembers; `spatial` terms need the image shape.

    Raises:
        ValueError: for arguments that do not fit each other, or an image shape that is missing or of another size.
    """
    given, spectra = read_supervised(pixels, endmembers, mask)
    image = image_of(pixels, given, image_shape, needed=spatial)
    values = jnp.where(given.mask[None, :], given.values, 0)
    return VariabilityInput(values, given.mask, spectra, image, given)


def check_counts(**counts: int) -> None:
    """Raise `ValueError` unless every count is at least one."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")


def hide(task: VariabilityInput, values: Float[Array, "... N"]) -> Float[Array, "... N"]:
    """The values with NaN at masked pixels."""
    return jnp.where(jnp.broadcast_to(task.mask, values.shape), values, jnp.nan)


def from_variability(
    task: VariabilityInput,
    endmembers: Float[Array, "L p"],
    abundances: Float[Array, "p N"],
    descent: Descent | None,
    **maps: Float[Array, "... N"],
) -> Unmixing:
    """The result, with maps hidden where masked among the diagnostics; without a descent it has always converged."""
    diagnostics = {name: hide(task, values) for name, values in maps.items()}
    result = RESULTS.converged
    if descent is not None:
        diagnostics |= {"loss": descent.loss, "num_steps": descent.num_steps}
        result = RESULTS.where(descent.settled, RESULTS.converged, RESULTS.max_steps_reached)
    finite = _tree.all_finite((endmembers, jnp.where(task.mask[None, :], abundances, 0)))
    found = Unmixing(
        endmembers=endmembers,
        abundances=hide(task, abundances),
        result=RESULTS.where(finite, result, RESULTS.nonfinite),
        diagnostics=diagnostics,
    )
    return as_given(found, task.given)
