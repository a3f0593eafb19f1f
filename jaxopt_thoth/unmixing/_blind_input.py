from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree
from .._result import RESULTS
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative
from ._alternate import Descent
from ._checks import check_count
from ._pixel_input import as_given, PixelInput, read_pixels
from ._scaled_pixels import Normalization, scale_pixels
from ._scene import Scene
from ._unmixing import Unmixing
from ._vca import vca


class BlindInput(NamedTuple):
    """What a blind method works on: normalized pixels with zeros where unused, and the first endmembers' pixels."""

    pixels: Float[Array, "L N"]
    used: Bool[Array, " N"]
    scale: Float[Array, " N"]
    first: Int[Array, " p"]
    given: PixelInput


def read_blind(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    key: PRNGKeyArray,
    mask: ArrayLike | None,
    normalization: Normalization,
    max_steps: int,
    tol: ArrayLike,
) -> BlindInput:
    """Checked and normalized pixels, and those that VCA picks among them with this key.

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.
    """
    given = read_pixels(pixels, mask)
    check_count(num_endmembers, 2, given.values, given.mask)
    bands = given.values.shape[0]
    if num_endmembers > bands:
        raise ValueError(f"num_endmembers must be at most the number of bands {bands}, got {num_endmembers}.")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}.")
    require_nonnegative(tol, "tol")
    scaled = scale_pixels(given.values, normalization, given.mask)
    used = scaled.scale > 0
    values = jax.lax.stop_gradient(given.values * scaled.scale[None, :])
    _, first = vca(values, num_endmembers, key=key, mask=used)
    return BlindInput(values, used, scaled.scale, first, given)


def mean_square(task: BlindInput) -> Scalar:
    """Mean squared norm of the pixels in use."""
    count = jnp.maximum(jnp.sum(task.used), 1).astype(task.pixels.dtype)
    return jnp.sum(task.pixels**2) / count


def from_descent(
    task: BlindInput,
    endmembers: Float[Array, "L p"],
    abundances: Float[Array, "p N"],
    descent: Descent,
    *,
    weights: Float[Array, "N p"] | None = None,
    **diagnostics: Array | IntScalar,
) -> Unmixing:
    """The result of an alternation."""
    finite = jnp.all(jnp.isfinite(endmembers)) & _tree.all_finite(abundances)
    result = RESULTS.where(descent.settled, RESULTS.converged, RESULTS.max_steps_reached)
    scale = jnp.where(task.used, 1 / jnp.where(task.used, task.scale, 1), jnp.nan)
    found = Unmixing(
        endmembers=endmembers,
        abundances=jnp.where(task.used[None, :], abundances, jnp.nan),
        result=RESULTS.where(finite, result, RESULTS.nonfinite),
        indices=None if weights is None else jnp.argmax(weights, axis=0),
        weights=weights,
        pixel_scale=scale,
        diagnostics={"loss": descent.loss, "num_steps": descent.num_steps, **diagnostics},
    )
    return as_given(found, task.given)
