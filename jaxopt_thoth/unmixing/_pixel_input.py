from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree, _validate
from ._cube import cube_to_pixels
from ._scene import Scene
from ._unmixing import Unmixing


class PixelInput(NamedTuple):
    """What a method works on: a clean matrix (L, N), the pixels to use (N,), and the image shape of a cube."""

    values: Float[Array, "L N"]
    mask: Bool[Array, " N"]
    shape: tuple[int, int] | None


def read_pixels(pixels: ArrayLike | Scene, mask: ArrayLike | None = None) -> PixelInput:
    """Pixels from a matrix (L, N), a cube (H, W, L) or a scene; those that are not finite are masked and zeroed.

    Raises:
        ValueError: for another number of axes, a mask of another size, or when no pixel is left.
    """
    if isinstance(pixels, Scene):
        values, usable, shape = pixels.pixels, pixels.mask, None
    else:
        values, shape = _tree.as_inexact(pixels), None
        if values.ndim == 3:
            shape = (values.shape[0], values.shape[1])
            values = cube_to_pixels(values)
        if values.ndim != 2:
            raise ValueError(f"pixels must be a matrix (L, N) or a cube (H, W, L), got shape {values.shape}.")
        usable = jnp.all(jnp.isfinite(values), axis=0)
        known = _validate.concrete(usable)
        if known is None or not known.all():
            values = jnp.where(usable[None, :], values, 0)
    if mask is not None:
        given = jnp.asarray(mask, bool).reshape(-1)
        if given.shape != usable.shape:
            raise ValueError(f"mask must have one entry for each of the {usable.size} pixels, got {jnp.shape(mask)}.")
        usable = usable & given
    known = _validate.concrete(usable)
    if known is not None and not known.any():
        raise ValueError("no pixel is left: every one is masked or not finite.")
    return PixelInput(values, usable, shape)


def image_of(
    pixels: ArrayLike | Scene, given: PixelInput, image_shape: tuple[int, int] | None, *, needed: bool
) -> tuple[int, int] | None:
    """The image (H, W) that the pixels were given as or are said to be; None where nobody knows and it is not needed.

    Raises:
        ValueError: if it is missing though needed, or does not hold all pixels.
    """
    image = (pixels.height, pixels.width) if isinstance(pixels, Scene) else given.shape
    if image is None and image_shape is not None:
        image = (int(image_shape[0]), int(image_shape[1]))
    if needed and image is None:
        raise ValueError(
            "image_shape is missing: pass (H, W) with a matrix of pixels, or a cube (H, W, L), or a Scene."
        )
    if image is not None and image[0] * image[1] != given.mask.size:
        raise ValueError(f"image_shape {image} must hold all {given.mask.size} pixels.")
    return image


def as_given(unmixing: Unmixing, given: PixelInput) -> Unmixing:
    """The result with abundance maps (p, H, W) when a cube came in."""
    if given.shape is None:
        return unmixing
    maps = unmixing.abundances.reshape(-1, *given.shape)
    unmixing = eqx.tree_at(lambda u: u.abundances, unmixing, maps)
    if unmixing.library_abundances is None:
        return unmixing
    maps = unmixing.library_abundances.reshape(-1, *given.shape)
    return eqx.tree_at(lambda u: u.library_abundances, unmixing, maps)
