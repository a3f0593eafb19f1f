"""Coarser images, and what of an image they do not show."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ... import _tree
from ..._types import Scalar


_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)
_SMOOTH = 1e-3


def average_cells(
    image: Float[Array, "H W C"], used: Float[Array, "H W"], side: int
) -> tuple[Float[Array, "h w C"], Float[Array, "h w"]]:
    """Means over cells of the pixels in use (those at the border are cut), of all where none is; and where one is."""

    def total(values: Float[Array, "H W C"]) -> Float[Array, "h w C"]:
        height, width, channels = values.shape
        padded = jnp.pad(values, ((0, -height % side), (0, -width % side), (0, 0)))
        return jnp.sum(padded.reshape(-(-height // side), side, -(-width // side), side, channels), axis=(1, 3))

    counts, most = total(used[..., None]), total(jnp.ones_like(used)[..., None])
    known = total(image * used[..., None]) / jnp.maximum(counts, 1)
    some = counts > 0
    return jnp.where(some, known, total(image) / most), some[..., 0].astype(image.dtype)


def blur(image: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
    """Binomial-like means of 5 x 5 neighbors, the border repeated."""
    height, width, _ = image.shape
    padded = jnp.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    taps = jnp.asarray(_TAPS, image.dtype)
    rows = jnp.einsum("ihwc,i->hwc", jnp.stack([padded[i : i + height] for i in range(5)]), taps)
    return jnp.einsum("jhwc,j->hwc", jnp.stack([rows[:, j : j + width] for j in range(5)]), taps)


def details(image: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
    """The level of a Laplacian pyramid: the image less what every other pixel of its blurred version shows."""
    height, width, _ = image.shape
    even = (np.arange(height)[:, None] % 2 == 0) & (np.arange(width)[None, :] % 2 == 0)
    sparse = jnp.where(even[..., None], 4 * blur(image), 0)
    return image - blur(sparse)


def edge_distance(fine: Float[Array, "H W C"], coarse: Float[Array, "h w C"]) -> Scalar:
    """Mean smoothed absolute difference between the details of a coarser image and of the averaged finer one."""
    halved, _ = average_cells(fine, jnp.ones(fine.shape[:2], fine.dtype), 2)
    difference = details(halved) - details(coarse)
    return jnp.mean(_tree.safe_sqrt(difference**2 + _SMOOTH**2))
