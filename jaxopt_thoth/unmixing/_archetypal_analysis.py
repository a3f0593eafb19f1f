from jaxtyping import ArrayLike, PRNGKeyArray

from .. import _tree
from ._archetypal_descent import archetypal_descent
from ._blind_input import from_descent, read_blind
from ._scaled_pixels import Normalization
from ._scene import Scene
from ._unmixing import Unmixing


def archetypal_analysis(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    max_steps: int = 200,
    tol: ArrayLike = 1e-5,
    normalization: Normalization = "pixel_l2",
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Blind unmixing by archetypal analysis, `min |Y - Y B A|^2 / 2`, the columns of A and B in unit simplices.

    Endmembers are convex combinations of pixels, one exact problem for each in turn, and abundances exact by fully
    constrained least squares, from the pixels that VCA picks. The objective never rises. A scene with a pure
    pixel of each material is fitted exactly.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`; any unit.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the start; `jax.vmap` over keys for a batch of starts.
        max_steps: bound on the number of sweeps.
        tol: the end, when the objective falls in a sweep by less than this, relative to itself.
        normalization: as in `edaa`.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway, and zero ones
            where pixels are normalized.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked),
        weights (N, p), and in `diagnostics` the "loss" after each sweep (NaN beyond the last) and "num_steps".

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: A. Cutler, L. Breiman, "Archetypal analysis", 1994; Y. Chen, J. Mairal, Z. Harchaoui, "Fast and robust
    archetypal analysis for representation learning", 2014.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20)
        >>> found = unmixing.archetypal_analysis(scene, 3, key=jax.random.key(1), max_steps=5)
        >>> found.endmembers.shape, found.weights.shape
        ((20, 3), (144, 3))
    """
    task = read_blind(pixels, num_endmembers, key, mask, normalization, max_steps, tol)
    found = archetypal_descent(task.pixels, task.used, task.first, _tree.setting(tol), None, max_steps=max_steps)
    factors = found.factors
    return from_descent(task, factors.endmembers, factors.abundances, found, weights=factors.weights)
