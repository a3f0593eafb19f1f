from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .._loop import while_loop
from .._types import IntScalar
from ._extraction_input import first_vertices, lifted, read_simplex, Whitened
from ._pixel_groups import pixel_at


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def nfindr(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    key: PRNGKeyArray | None = None,
    mask: ArrayLike | None = None,
    max_sweeps: int = 100,
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """Endmembers by N-FINDR: pixels are swapped for each other until no swap enlarges the simplex.

    The volume is that of the first p - 1 principal components, in which the pixels are whitened. It is linear in each
    vertex: one product with the row of the inverse matrix of the vertices gives the volumes of all N swaps, and the
    inverse follows a swap by a correction of rank one. Swaps go round the vertices; the volume never falls, and at
    the end no single swap enlarges it. The first simplex is greedy, each pixel the farthest from those before it;
    with a key, in a random linear image of the pixels, so that `jax.vmap` over keys tries several local maxima.
    The selection does not change under affine maps of the spectra. O(L p N) time, a pass of O(p N) a swap.

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels.
        key: key of a random start; None starts from the greedy simplex.
        mask: (N,) booleans, True for a valid pixel; the others are never selected.
        max_sweeps: bound on the rounds over the vertices, static.

    Returns:
        Endmembers (L, p), the selected pixels themselves, and their indices (p,).

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, `num_endmembers`
            is out of range or exceeds the dimension that the pixels span by more than one, or `max_sweeps` is negative.

    Source: M. E. Winter, "N-FINDR: an algorithm for fast autonomous spectral end-member determination in
    hyperspectral data", 1999.

    Example:
        >>> import jax.numpy as jnp
        >>> corners_and_middle = jnp.array([[3.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.6, 0.0], [0.0, 0.0, 0.1, 1.0]])
        >>> sorted(nfindr(corners_and_middle, 3)[1].tolist())
        [0, 1, 3]
    """
    values, valid, space = read_simplex(pixels, num_endmembers, mask)
    if max_sweeps < 0:
        raise ValueError(f"max_sweeps must be at least 0, got {max_sweeps}.")
    indices = _select(space, valid, key, num_endmembers, max_sweeps)
    return values[:, indices], indices


class _Simplex(NamedTuple):
    indices: Int[Array, " p"]
    inverse: Float[Array, "p p"]
    num_steps: IntScalar
    num_kept: IntScalar


@partial(jax.jit, static_argnames=("count", "max_sweeps"))
def _select(
    space: Whitened, valid: Bool[Array, " N"], key: PRNGKeyArray | None, count: int, max_sweeps: int
) -> Int[Array, " p"]:
    points = lifted(space.coordinates)
    # A swap has to gain more than what rounding might, or two pixels that are equal would take turns.
    least_gain = 1 + 100 * count * jnp.finfo(points.dtype).eps
    indices = first_vertices(space, valid, count, key)
    identity = jnp.eye(count, dtype=points.dtype)

    def step(simplex: _Simplex) -> _Simplex:
        place = simplex.num_steps % count
        ratios = jnp.where(valid, jnp.abs(_matmul(simplex.inverse[place], points)), -jnp.inf)
        candidate = jnp.argmax(ratios)
        swaps = ratios[candidate] > least_gain
        indices = simplex.indices.at[place].set(jnp.where(swaps, candidate, simplex.indices[place]))

        moved = _matmul(simplex.inverse, pixel_at(points, candidate))
        pivot = jnp.where(swaps, moved[place], 1)
        correction = (moved - identity[place])[:, None] * (simplex.inverse[place] / pivot)[None, :]
        inverse = simplex.inverse - correction
        # One step of Newton keeps the rounding of many swaps from adding up.
        inverse = _matmul(inverse, 2 * identity - _matmul(points[:, indices], inverse))
        return _Simplex(
            indices,
            jnp.where(swaps, inverse, simplex.inverse),
            simplex.num_steps + 1,
            jnp.where(swaps, 0, simplex.num_kept + 1),
        )

    zero = jnp.asarray(0, jnp.int32)
    start = _Simplex(indices, jnp.linalg.inv(points[:, indices]), zero, zero)
    return while_loop(lambda s: (s.num_kept < count) & (s.num_steps < max_sweeps * count), step, start).indices
