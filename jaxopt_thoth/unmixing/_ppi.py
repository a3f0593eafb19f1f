from functools import partial
from operator import index

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree
from ._extraction_input import read_simplex, Whitened
from ._pixel_groups import pixel_at


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
_AT_ONCE = 32


def ppi(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    mask: ArrayLike | None = None,
    num_skewers: int = 10_000,
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """Endmembers by the pixel purity index: how often a pixel is extreme along random lines.

    The published method stops at the counts (`purity_counts`) and leaves the choice to an analyst, as pixels of one
    material share the counts of their corner. Here the first is the pixel of the highest count, and each further one
    has the largest product of its count and its squared distance from the affine hull of those before it.

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels.
        key: key of the random lines.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        num_skewers: number of lines, static.

    Returns:
        Endmembers (L, p), the selected pixels themselves, and their indices (p,), both in the order of selection.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, `num_endmembers`
            is out of range or exceeds the dimension that the pixels span by more than one, or `num_skewers` is below 1.

    Source: J. W. Boardman, F. A. Kruse, R. O. Green, "Mapping target signatures via partial unmixing of AVIRIS data",
    1995.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> corners_and_middle = jnp.array([[3.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.6, 0.0], [0.0, 0.0, 0.1, 1.0]])
        >>> sorted(ppi(corners_and_middle, 3, key=jax.random.key(0))[1].tolist())
        [0, 1, 3]
    """
    values, valid, space = read_simplex(pixels, num_endmembers, mask)
    counts = _counts(space, valid, key, _number(num_skewers))
    indices = _spread_out(space, valid, counts, num_endmembers)
    return values[:, indices], indices


def purity_counts(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    mask: ArrayLike | None = None,
    num_skewers: int = 10_000,
) -> Int[Array, " N"]:
    """The pixel purity index: of how many random lines each pixel is an end, when the pixels are projected on them.

    Directions are uniform on the sphere of the first p - 1 principal components, whitened. Only vertices of the convex
    hull of the pixels are ever counted. O(p N) time a line; the lines are taken 32 at once.

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels; sets the dimension p - 1.
        key: key of the random lines.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        num_skewers: number of lines, static.

    Returns:
        Counts (N,), two a line in all.

    Raises:
        ValueError: as `ppi`.

    Source: J. W. Boardman, F. A. Kruse, R. O. Green, "Mapping target signatures via partial unmixing of AVIRIS data",
    1995.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> line = jnp.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
        >>> purity_counts(line, 2, key=jax.random.key(0), num_skewers=10).tolist()
        [10, 0, 10]
    """
    _, valid, space = read_simplex(pixels, num_endmembers, mask)
    return _counts(space, valid, key, _number(num_skewers))


def _number(num_skewers: int) -> int:
    count = index(num_skewers)
    if count < 1:
        raise ValueError(f"num_skewers must be at least 1, got {num_skewers}.")
    return count


@partial(jax.jit, static_argnames="number")
def _counts(space: Whitened, valid: Bool[Array, " N"], key: PRNGKeyArray, number: int) -> Int[Array, " N"]:
    dimension, pixels = space.coordinates.shape
    skewers = jax.random.normal(key, (number, dimension), space.coordinates.dtype)

    def ends(skewer: Float[Array, " d"]) -> Int[Array, " 2"]:
        along = _matmul(skewer, space.coordinates)
        lowest = jnp.argmin(jnp.where(valid, along, jnp.inf))
        return jnp.stack([lowest, jnp.argmax(jnp.where(valid, along, -jnp.inf))])

    found = jax.lax.map(ends, skewers, batch_size=min(number, _AT_ONCE))
    return jnp.zeros(pixels, int).at[found.ravel()].add(1)


@partial(jax.jit, static_argnames="count")
def _spread_out(space: Whitened, valid: Bool[Array, " N"], counts: Int[Array, " N"], count: int) -> Int[Array, " p"]:
    purity = counts.astype(space.coordinates.dtype)
    first = jnp.argmax(jnp.where(valid, purity, -1))
    rest = space.coordinates - pixel_at(space.coordinates, first)[:, None]

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        indices, rest, free = carry
        chosen = jnp.argmax(jnp.where(free, purity * jnp.sum(jnp.square(rest), axis=0), -1))
        direction = pixel_at(rest, chosen)
        size = _tree.norm(direction)
        direction = direction / jnp.where(size > 0, size, 1)
        rest = rest - direction[:, None] * _matmul(direction, rest)[None, :]
        return indices.at[k].set(chosen), rest, free.at[chosen].set(False)

    start = (jnp.zeros(count, first.dtype).at[0].set(first), rest, valid.at[first].set(False))
    return jax.lax.fori_loop(1, count, step, start)[0]
