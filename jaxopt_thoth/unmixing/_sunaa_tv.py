from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ..penalties import Simplex
from ._library_input import from_factors, read_library
from ._scene import Scene
from ._sunaa import descend, library_products, sweep_endmembers
from ._total_variation_fit import differences, fit_spatial, SpatialFit, SpatialState, start_spatial
from ._unmixing import Unmixing


_product = partial(jnp.matmul, precision="highest")
# Relative residual of the last steps in the abundances below which the maps count as settled.
_SETTLED = 0.01


def sunaa_tv(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 0.3,
    *,
    num_endmembers: int,
    key: PRNGKeyArray | None = None,
    image_shape: tuple[int, int] | None = None,
    edge_scale: ArrayLike = 0.02,
    reweightings: int = 3,
    sweeps: int = 30,
    inner_steps: int = 10,
    max_steps: int = 500,
    tol: ArrayLike = 1e-6,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Archetypal unmixing by a library with maps that are smooth between edges: `sunaa` with total variation of A.

    Minimizes `|Y - D B A|^2 / 2 + strength * s * e * sum_n w_n |differences of A at pixel n|_2` over columns of A and B
    in unit simplices. The fit without the spatial term comes first, and gives the start and the level s of the noise; e
    is the mean norm of the endmembers, so that the strength has no unit. The norm couples all maps, whose edges
    coincide. The weights are 1 in the first round and `1 / (1 + |differences| / edge_scale)` of the round before in the
    others, so that edges are found once and then not flattened. Exact endmembers take turns with steps of an
    alternating direction method in the abundances.

    A scene of patches gains most; a texture below `strength * s` is smoothed away.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the total variation, in units of the noise; nonnegative.
        num_endmembers: p; static.
        key: not used; library methods are called alike.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        edge_scale: change of the fractions from one pixel to the next that counts as an edge.
        reweightings: rounds, the first with all weights alike.
        sweeps: turns of abundances and endmembers a round.
        inner_steps: steps in the abundances a turn.
        max_steps: bound on the sweeps of the fit without the spatial term.
        tol: tolerance of that fit, as in `sunaa`.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with `weights` B (M, p), `library_abundances` B A, and in `diagnostics` the level of the `noise` and
        the `error` of the last steps, the larger of two relative residuals: above 0.01 the `result` is
        `max_steps_reached`.

    Raises:
        ValueError: for a library of other bands or dtype, settings out of range, or a missing image shape.

    Source: the library model is that of `sunaa`; the weights are those of E. Candes, M. Wakin, S. Boyd, "Enhancing
    sparsity by reweighted l1 minimization", 2008.

    Example:
        >>> import jax.numpy as jnp
        >>> cube = jnp.zeros((4, 6, 3)).at[:, :3, 0].set(1.0).at[:, 3:, 1].set(1.0)
        >>> found = sunaa_tv(cube, jnp.eye(3), num_endmembers=2)
        >>> found.abundances.shape, sorted(found.indices.tolist())
        ((2, 4, 6), [0, 1])
    """
    task = read_library(pixels, library, num_endmembers, mask, image_shape, spatial=True)
    require_nonnegative(strength, "strength")
    require_nonnegative(tol, "tol")
    require_positive(edge_scale, "edge_scale")
    counts = {"reweightings": reweightings, "sweeps": sweeps, "inner_steps": inner_steps, "max_steps": max_steps}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    settings = tuple(_tree.setting(value).astype(task.pixels.dtype) for value in (strength, edge_scale, tol))
    weights, abundances, noise, error = _sunaa_tv(
        task.pixels, task.library, task.mask, *settings, num_endmembers=num_endmembers, image=task.image, **counts
    )
    result = RESULTS.where(error <= _SETTLED, RESULTS.converged, RESULTS.max_steps_reached)
    return from_factors(task, weights, abundances, result, {"noise": noise, "error": error})


@partial(jax.jit, static_argnames=("num_endmembers", "image", "reweightings", "sweeps", "inner_steps", "max_steps"))
def _sunaa_tv(
    pixels: Array,
    library: Array,
    mask: Array,
    strength: Scalar,
    edge_scale: Scalar,
    tol: Scalar,
    *,
    num_endmembers: int,
    image: tuple[int, int],
    reweightings: int,
    sweeps: int,
    inner_steps: int,
    max_steps: int,
) -> tuple[Array, Array, Scalar, Scalar]:
    dtype = pixels.dtype
    weights, abundances, loss, _, _ = descend(
        pixels, library, mask, tol, num_endmembers=num_endmembers, max_steps=max_steps
    )
    products = library_products(library)
    used = jnp.sum(mask).astype(dtype)
    freedom = jnp.maximum(used * (pixels.shape[0] - num_endmembers), 1)
    noise = _tree.safe_sqrt(2 * loss / freedom)

    def turn(edge_weights: Array, carry: tuple[Array, SpatialState]) -> tuple[Array, SpatialState]:
        weights, state = carry
        spectra = _product(library, weights)
        gram = _product(spectra.T, spectra)
        unit = _tree.safe_sqrt(jnp.trace(gram) / num_endmembers)
        problem = SpatialFit(
            gram, _product(spectra.T, pixels), Simplex(1.0, axis=0), edge_weights, strength * noise * unit, mask
        )
        state = state._replace(num_steps=jnp.zeros_like(state.num_steps))
        state = fit_spatial(problem, state, image=image, coupled=True, tol=jnp.zeros((), dtype), max_steps=inner_steps)
        kept = jnp.where(mask[None, :], state.copy, 0)
        return sweep_endmembers(products, weights, _product(pixels, kept.T), _product(kept, kept.T)), state

    def round_(carry: tuple[Array, SpatialState, Array], _: None) -> tuple[tuple[Array, SpatialState, Array], None]:
        weights, state, edge_weights = carry
        weights, state = jax.lax.scan(
            lambda c, _: (turn(edge_weights, c), None), (weights, state), None, length=sweeps
        )[0]
        changes = differences(state.copy.reshape(-1, *image))
        sizes = _tree.safe_sqrt(jnp.sum(changes * changes, axis=(0, 1)))
        edge_weights = jnp.broadcast_to(1 / (1 + sizes / edge_scale), edge_weights.shape)
        return (weights, state, edge_weights), None

    spectra = _product(library, weights)
    rho = jnp.maximum(0.02 * noise * _tree.norm(spectra), jnp.finfo(dtype).tiny ** 0.5)
    start = (weights, start_spatial(abundances, image, rho), jnp.ones((2, *image), dtype))
    weights, state, _ = jax.lax.scan(round_, start, None, length=reweightings)[0]
    return weights, state.copy, noise, state.error
