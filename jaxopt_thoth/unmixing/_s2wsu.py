from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ..penalties import NonNegative, Tilted
from ..problems import Composite
from ..smooth import Quadratic
from ..solvers import ADMM
from ._library_fit import least_squares, unit_of
from ._library_input import from_abundances, read_library
from ._scene import Scene
from ._unmixing import Unmixing


# Change of the abundances over the last reweighting, relative to their norm, below which they count as settled.
_SETTLED = 0.01
# Steps without weights before the first ones.
_FIRST_STEPS = 60


def s2wsu(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 1e-3,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray | None = None,
    image_shape: tuple[int, int] | None = None,
    floor: ArrayLike = 0.01,
    reweightings: int = 60,
    inner_steps: int = 5,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Spectral-spatial weighted sparse unmixing: `sunsal` with weights from each atom's row and each pixel's neighbors.

    The l1 norm weighs an entry by `1 / (floor + mean of its 8 neighbors) / |its row|_2`, the corners of the mean by
    `1 / sqrt(2)` of the edges: atoms that the image uses little, and abundances that the neighbors do not share, are
    pushed to zero. A few steps of ADMM, whose factorization is made once, follow each reweighting.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the weighted l1 norm, a nonnegative scalar; it grows with the noise.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: not used; library methods are called alike.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        floor: added to the means of neighbors, positive.
        reweightings: how often the weights are renewed.
        inner_steps: steps of ADMM with the same weights.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with `library_abundances` (M, N), zeros exact, and the `indices` of the endmembers; maps are
        (.., H, W) for a cube, and NaN where masked. `result` is `max_steps_reached` when the last reweighting still
        moved the abundances by 1 per cent.

    Raises:
        ValueError: for a library of other bands or dtype, settings out of range, or a missing image shape.

    Source: S. Zhang, J. Li, H.-C. Li, C. Deng, A. Plaza, "Spectral-spatial weighted sparse regression for
    hyperspectral image unmixing", 2018.

    Example:
        >>> import jax.numpy as jnp
        >>> cube = jnp.zeros((4, 4, 2)).at[:, :, 0].set(1.0).at[1, 1, 1].set(0.2)
        >>> print(s2wsu(cube, jnp.eye(2), 0.1).library_abundances[1].max().round(2))
        0.0
    """
    task = read_library(pixels, library, num_endmembers, mask, image_shape, spatial=True)
    require_nonnegative(strength, "strength")
    require_positive(floor, "floor")
    if reweightings < 1 or inner_steps < 1:
        raise ValueError(f"reweightings and inner_steps must be at least 1, got {reweightings} and {inner_steps}.")
    dtype = task.pixels.dtype
    maps, change = _s2wsu(
        least_squares(task),
        _tree.setting(strength).astype(dtype) / unit_of(task),
        _tree.setting(floor).astype(dtype),
        image=task.image,
        reweightings=reweightings,
        inner_steps=inner_steps,
    )
    result = RESULTS.where(change <= _SETTLED, RESULTS.converged, RESULTS.max_steps_reached)
    result = RESULTS.where(jnp.isfinite(change), result, RESULTS.nonfinite)
    return from_abundances(task, maps, num_endmembers, result)


def neighbor_means(maps: Float[Array, "M H W"]) -> Float[Array, "M H W"]:
    """Weighted means of the 8 neighbors, 1 for edges and `1 / sqrt(2)` for corners; outside the image is zero."""
    padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1)))
    middle = padded[:, 1:-1, :]
    edges = middle[:, :, 2:] + middle[:, :, :-2] + padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1]
    sides = padded[:, 2:, :] + padded[:, :-2, :]
    corners = sides[:, :, 2:] + sides[:, :, :-2]
    corner = 0.5**0.5
    return (edges + corner * corners) / (4 + 4 * corner)


@partial(jax.jit, static_argnames=("image", "reweightings", "inner_steps"))
def _s2wsu(
    smooth: Quadratic, strength: Scalar, floor: Scalar, *, image: tuple[int, int], reweightings: int, inner_steps: int
) -> tuple[Array, Scalar]:
    solver = ADMM()
    eps = jnp.finfo(strength.dtype).eps

    def renew(carry: tuple, _: None) -> tuple[tuple, Scalar]:
        maps, state = carry
        # Before the threshold: entries that it has set to zero are weighed by what they would be.
        raw = jnp.abs(state.splits[0] + state.duals[0] / state.rho)
        near = neighbor_means(raw.reshape(-1, *image)).reshape(maps.shape)
        rows = _tree.safe_sqrt(jnp.sum(raw * raw, axis=1, keepdims=True))
        # A row of zeros keeps a finite weight, so that it may come back.
        row_floor = eps**0.5 * jnp.maximum(jnp.max(rows), eps)
        weights = 1 / ((floor + near) * jnp.maximum(rows, row_floor))
        problem = Composite(smooth, Tilted(NonNegative(), strength * weights))
        new, state = jax.lax.scan(
            lambda c, _: (solver.step(problem, *c), None), (maps, state), None, length=inner_steps
        )[0]
        change = _tree.norm(new - maps) / jnp.maximum(_tree.norm(new), eps)
        return (new, state), change

    start = jnp.zeros_like(smooth.vector)
    plain = Composite(smooth, NonNegative())
    carry = (start, solver.init(plain, start))
    # The first weights come from steps without any.
    carry = jax.lax.scan(lambda c, _: (solver.step(plain, *c), None), carry, None, length=_FIRST_STEPS)[0]
    (maps, _), changes = jax.lax.scan(renew, carry, None, length=reweightings)
    return maps, changes[-1]
