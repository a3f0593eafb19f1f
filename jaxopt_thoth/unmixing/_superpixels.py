from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._pixel_input import read_pixels
from ._scene import Scene


def superpixels(
    pixels: ArrayLike | Scene,
    side: int,
    *,
    image_shape: tuple[int, int] | None = None,
    compactness: ArrayLike = 0.005,
    num_steps: int = 20,
    mask: ArrayLike | None = None,
) -> Int[Array, " N"]:
    """Superpixels by simple linear iterative clustering (SLIC), of spectra divided by their mean norm and positions.

    Clusters start as the cells of a grid; each pixel goes to the nearest center among those of its cell and the 8
    around it, by `|difference of spectra|^2 + compactness |difference of positions|^2 / side^2`, and centers move to
    the means of their pixels. The number of clusters is static, some may end empty; that each is connected is not
    enforced.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        side: about the side of a superpixel, in pixels; static.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        compactness: weight of the positions, a nonnegative scalar.
        num_steps: number of updates.
        mask: (N,) or (H, W), true for the pixels to use; others get a label but do not move the centers.

    Returns:
        (N,) labels from 0, row-major, below `grid_size((H, W), side)` rows times columns.

    Raises:
        ValueError: for a side below one, or an image shape that is missing or of another size.

    Source: R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", 2012.

    Example:
        >>> import jax.numpy as jnp
        >>> cube = jnp.zeros((4, 4, 1)).at[:, 1:].set(1.0)
        >>> labels = superpixels(cube, 2, compactness=1e-3).reshape(4, 4)
        >>> bool((labels[:, 0] != labels[:, 1]).all())
        True
    """
    given = read_pixels(pixels, mask)
    image = (pixels.height, pixels.width) if isinstance(pixels, Scene) else given.shape or image_shape
    if image is None or image[0] * image[1] != given.mask.size:
        raise ValueError(f"image_shape must be (H, W) with as many pixels as given, {given.mask.size}, got {image}.")
    if side < 1 or num_steps < 1:
        raise ValueError(f"side and num_steps must be at least 1, got {side} and {num_steps}.")
    require_nonnegative(compactness, "compactness")
    values = jnp.where(given.mask[None, :], given.values, 0)
    weight = _tree.setting(compactness).astype(values.dtype)
    return _superpixels(
        values, given.mask, weight, image=(int(image[0]), int(image[1])), side=side, num_steps=num_steps
    )


def grid_size(image: tuple[int, int], side: int) -> tuple[int, int]:
    """Rows and columns of the grid of superpixels."""
    return max(1, round(image[0] / side)), max(1, round(image[1] / side))


def superpixel_means(
    values: Float[Array, "L N"], labels: Int[Array, " N"], mask: Bool[Array, " N"], count: int
) -> Float[Array, "L K"]:
    """Mean pixel of each of `count` superpixels, zero where one is empty."""
    used = mask.astype(values.dtype)
    sums = jax.ops.segment_sum((values * used[None, :]).T, labels, count)
    sizes = jax.ops.segment_sum(used, labels, count)
    return (sums / jnp.maximum(sizes, 1)[:, None]).T


@partial(jax.jit, static_argnames=("image", "side", "num_steps"))
def _superpixels(
    values: Array, mask: Array, compactness: Scalar, *, image: tuple[int, int], side: int, num_steps: int
) -> Array:
    dtype = values.dtype
    rows, columns = grid_size(image, side)
    count = rows * columns
    used = mask.astype(dtype)
    norms = _tree.safe_sqrt(jnp.sum(values * values, axis=0))
    mean = jnp.sum(norms) / jnp.maximum(jnp.sum(used), 1)
    row, column = (index.ravel() for index in jnp.indices(image))
    place = jnp.stack([row, column]).astype(dtype) * _tree.safe_sqrt(compactness) / side
    features = jnp.concatenate([values / jnp.where(mean > 0, mean, 1), place]).T
    # Columns that say nothing of the spectrum in masked pixels: these take part by their place alone.
    visible = jnp.where(mask[:, None], 1, (jnp.arange(features.shape[1]) >= values.shape[0])[None, :].astype(dtype))
    cell = (row * rows // image[0], column * columns // image[1])
    shifts = jnp.stack([index.ravel() - 1 for index in jnp.indices((3, 3))], axis=1)

    def centers_of(labels: Array, old: Array) -> Array:
        sums = jax.ops.segment_sum(features * used[:, None], labels, count)
        sizes = jax.ops.segment_sum(used, labels, count)[:, None]
        return jnp.where(sizes > 0, sums / jnp.maximum(sizes, 1), old)

    def update(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        labels, centers = carry

        def compare(best: tuple[Array, Array], shift: Array) -> tuple[tuple[Array, Array], None]:
            near = (cell[0] + shift[0], cell[1] + shift[1])
            inside = (near[0] >= 0) & (near[0] < rows) & (near[1] >= 0) & (near[1] < columns)
            label = jnp.where(inside, near[0] * columns + near[1], 0)
            gaps = (features - centers[label]) * visible
            distance = jnp.where(inside, jnp.sum(gaps * gaps, axis=1), jnp.inf)
            closer = distance < best[1]
            return (jnp.where(closer, label, best[0]), jnp.where(closer, distance, best[1])), None

        blank = (labels, jnp.full(labels.shape, jnp.inf, dtype))
        labels = jax.lax.scan(compare, blank, shifts)[0][0]
        return (labels, centers_of(labels, centers)), None

    labels = cell[0] * columns + cell[1]
    start = (labels, centers_of(labels, jnp.zeros((count, features.shape[1]), dtype)))
    return jax.lax.scan(update, start, None, length=num_steps)[0][0]
