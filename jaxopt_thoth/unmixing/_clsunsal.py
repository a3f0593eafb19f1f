from jaxtyping import ArrayLike, PRNGKeyArray

from .. import _tree
from .._validate import require_nonnegative
from ..solvers import ADMM
from ._library_fit import default_admm, fit, least_squares, unit_of
from ._library_input import from_abundances, read_library
from ._nonnegative_rows import NonNegativeRows
from ._scene import Scene
from ._unmixing import Unmixing


def clsunsal(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 1e-2,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray | None = None,
    mask: ArrayLike | None = None,
    solver: ADMM | None = None,
) -> Unmixing:
    """Collaborative sparse unmixing, `min |Y - D X|^2 / 2 + strength sum_i |row i of X|_2` over `X >= 0`, by ADMM.

    An atom is in use in the whole image or not at all. The nonnegative prox of the row norms is in closed form, so that
    two copies of the variable less are needed than in the published splitting. Differentiable in the strength.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the row norms, a nonnegative scalar; it grows with the noise and with the root of N.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: not used; library methods are called alike.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        solver: the method with its settings; by default ADMM to a tolerance of 3e-5 or 300 steps in
            float32, 1e-6 or 1000 steps in float64.

    Returns:
        `Unmixing` with `library_abundances` (M, N), zero rows exact, and the `indices` of the endmembers; maps are
        (.., H, W) for a cube, and NaN where masked.

    Raises:
        ValueError: for a library of other bands or dtype, a negative strength, or a wrong number of endmembers.

    Source: M.-D. Iordache, J. Bioucas-Dias, A. Plaza, "Collaborative sparse regression for hyperspectral unmixing",
    2014.

    Example:
        >>> import jax.numpy as jnp
        >>> pixels = jnp.array([[3.0, 4.0], [0.3, 0.4]])
        >>> print(clsunsal(pixels, jnp.eye(2), 1.0).library_abundances.round(2).tolist()[1])
        [0.0, 0.0]
    """
    task = read_library(pixels, library, num_endmembers, mask)
    require_nonnegative(strength, "strength")
    scaled = _tree.setting(strength).astype(task.pixels.dtype) / unit_of(task)
    penalty = NonNegativeRows(scaled, task.library.shape[1])
    abundances, result = fit(least_squares(task), penalty, default_admm(task) if solver is None else solver)
    return from_abundances(task, abundances, num_endmembers, result)
