from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from ... import _tree
from ..._result import RESULTS
from ..._types import IntScalar, Scalar
from .._checks import check_count
from .._pixel_input import as_given, image_of, PixelInput, read_pixels
from .._scaled_pixels import Normalization, scale_pixels
from .._scene import Scene
from .._unmixing import Unmixing
from ._train import Training


class NetworkInput(NamedTuple):
    """What a network works on: pixels as rows, at most 1 in size, the mean of the others where unused."""

    rows: Float[Array, "N L"]
    used: Bool[Array, " N"]
    scale: Float[Array, " N"]
    unit: Scalar
    size: tuple[int, int]
    given: PixelInput

    @property
    def image(self) -> Float[Array, "H W L"]:
        """The rows as an image."""
        return self.rows.reshape(*self.size, -1)

    @property
    def weights(self) -> Float[Array, " N"]:
        """Equal weights of the pixels in use, of sum one."""
        used = self.used.astype(self.rows.dtype)
        return used / jnp.maximum(jnp.sum(used), 1)

    @property
    def pixels(self) -> Float[Array, "L N"]:
        """The pixels as columns, zeros where unused."""
        return jnp.where(self.used[None, :], self.rows.T, 0)


def read_network(
    pixels: ArrayLike | Scene,
    mask: ArrayLike | None,
    normalization: Normalization,
    image_shape: tuple[int, int] | None = None,
    *,
    num_endmembers: int | None = None,
    spatial: bool = True,
    width: int = 1,
) -> NetworkInput:
    """Checked pixels in units of their largest entry; `spatial` networks need the image shape of a matrix as well.

    Raises:
        ValueError: for a setting out of range, pixels of a wrong shape, or an image shape that is missing or does not
            hold all pixels.
    """
    given = read_pixels(pixels, mask)
    bands, count = given.values.shape
    if num_endmembers is not None:
        check_count(num_endmembers, 2, given.values, given.mask)
        if num_endmembers > bands:
            raise ValueError(f"num_endmembers must be at most the number of bands {bands}, got {num_endmembers}.")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    size = image_of(pixels, given, image_shape, needed=spatial) or (1, count)
    scaled = scale_pixels(given.values, normalization, given.mask)
    used = scaled.scale > 0
    values = jnp.where(used[None, :], given.values * scaled.scale[None, :], 0)
    unit = jax.lax.stop_gradient(jnp.max(jnp.abs(values)))
    unit = jnp.where(unit > 0, unit, 1)
    values = values / unit
    total = jnp.maximum(jnp.sum(used), 1).astype(values.dtype)
    mean = jnp.sum(values, axis=1, keepdims=True) / total
    rows = jnp.where(used[None, :], values, mean).T
    return NetworkInput(rows, used, scaled.scale, unit, size, given)


def weighted_mean(values: Float[Array, "..."], weights: Float[Array, "..."]) -> Scalar:
    """Sum of the values by weights, without those of weight zero."""
    return jnp.sum(jnp.where(weights > 0, values * weights, 0))


def angles(x: Float[Array, "... L"], y: Float[Array, "... L"]) -> Float[Array, "..."]:
    """Angle between spectra along the last axis, in radians, with a finite derivative."""
    length = lambda a: _tree.safe_sqrt(jnp.sum(a * a, axis=-1))

    def unit(a: Array) -> Array:
        size = length(a)[..., None]
        return a / jnp.where(size > 0, size, 1)

    first, second = unit(x), unit(y)
    return 2 * jnp.arctan2(length(first - second), length(first + second))


class Draw(NamedTuple):
    """The pixels in use first, and how many they are."""

    order: Array
    total: IntScalar


def used_first(task: NetworkInput) -> Draw:
    """What random rows are drawn from."""
    return Draw(jnp.argsort(~task.used, stable=True), jnp.maximum(jnp.sum(task.used), 1))


def draw_rows(draw: Draw, rows: Float[Array, "N L"], size: int, key: PRNGKeyArray) -> Float[Array, "size L"]:
    """Rows of pixels in use, drawn with replacement."""
    return rows[draw.order[jax.random.randint(key, (size,), 0, draw.total)]]


def from_training(
    task: NetworkInput,
    endmembers: Float[Array, "L p"],
    abundances: Float[Array, "N p"],
    training: Training,
    indices: Int[Array, " p"] | None = None,
    **further: Any,
) -> Unmixing:
    """The result of a training, in the unit of the normalized pixels."""
    finite = jnp.all(jnp.isfinite(endmembers)) & _tree.all_finite(abundances)
    found = Unmixing(
        endmembers=endmembers,
        abundances=jnp.where(task.used[:, None], abundances, jnp.nan).T,
        result=RESULTS.where(finite, training.result, RESULTS.nonfinite),
        indices=indices,
        pixel_scale=jnp.where(task.used, 1 / jnp.where(task.used, task.scale, 1), jnp.nan),
        diagnostics={"loss": training.loss, "num_steps": training.num_steps, **further},
    )
    return as_given(found, task.given)
