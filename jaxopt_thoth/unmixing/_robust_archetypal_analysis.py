import jax.numpy as jnp
from jaxtyping import ArrayLike, PRNGKeyArray

from .. import _tree
from .._validate import require_positive
from ._archetypal_descent import archetypal_descent
from ._blind_input import from_descent, mean_square, read_blind
from ._scaled_pixels import Normalization
from ._scene import Scene
from ._unmixing import Unmixing


def robust_archetypal_analysis(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    epsilon: ArrayLike = 1e-3,
    max_steps: int = 200,
    tol: ArrayLike = 1e-5,
    normalization: Normalization = "pixel_l2",
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Archetypal analysis whose objective is the sum of the pixels' distances, and not of their squares.

    `min sum_n h(|y_n - Y B a_n|)` with Huber's h, `(u^2 / epsilon + epsilon) / 2` up to epsilon and u beyond, the
    columns of A and B in unit simplices: pixels that fit badly pull less. Each sweep lowers a weighted sum of squares
    that majorizes the objective, so that this never rises. Outliers still pull if the start, pixels that VCA picks,
    lies on them.

    Args:
        pixels, num_endmembers, key, max_steps, tol, normalization, mask: as in `archetypal_analysis`.
        epsilon: where h turns linear, relative to the root mean square of the norms of the pixels.

    Returns:
        `Unmixing` as of `archetypal_analysis`, with the "importance" (N,) of the pixels in `diagnostics`, at most one.
        The "loss" leaves out the constant `epsilon / 2` a pixel.

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: Y. Chen, J. Mairal, Z. Harchaoui, "Fast and robust archetypal analysis for representation learning", 2014.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20)
        >>> found = unmixing.robust_archetypal_analysis(scene, 3, key=jax.random.key(1), max_steps=5)
        >>> found.diagnostics["importance"].shape
        (144,)
    """
    require_positive(epsilon, "epsilon")
    task = read_blind(pixels, num_endmembers, key, mask, normalization, max_steps, tol)
    width = _tree.setting(epsilon).astype(task.pixels.dtype) * jnp.sqrt(mean_square(task))
    found = archetypal_descent(task.pixels, task.used, task.first, _tree.setting(tol), width, max_steps=max_steps)
    factors = found.factors
    importance = jnp.where(task.used, width / jnp.maximum(factors.distances, width), jnp.nan)
    return from_descent(
        task, factors.endmembers, factors.abundances, found, weights=factors.weights, importance=importance
    )
