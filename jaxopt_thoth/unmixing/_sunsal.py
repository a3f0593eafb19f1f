from jaxtyping import ArrayLike, PRNGKeyArray

from .. import _tree
from .._validate import require_nonnegative
from ..penalties import NonNegative, Simplex, Tilted
from ..solvers import ADMM
from ._library_fit import default_admm, fit, fit_sparse, least_squares, unit_of
from ._library_input import from_abundances, read_library
from ._scene import Scene
from ._unmixing import Unmixing


def sunsal(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 1e-3,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray | None = None,
    sum_to_one: bool = False,
    mask: ArrayLike | None = None,
    solver: ADMM | None = None,
) -> Unmixing:
    """Sparse unmixing by a library, `min |Y - D X|^2 / 2 + strength |X|_1` over `X >= 0`, exact.

    By an active set for each pixel, of cost by the atoms that it uses; pixels of more than 48, or in which rounding
    keeps it moving, by ADMM. Differentiable in the strength, the pixels and the
    library, and batched over them by `jax.vmap`. With `sum_to_one` every column of X is in the unit simplex, where
    the l1 norm is constant: the strength then has no effect.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the l1 norm, a nonnegative scalar, or (M, 1) or (M, N) for strengths of their own; it grows with
            the noise.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: not used; library methods are called alike.
        sum_to_one: ask for sums of one.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        solver: ADMM with its settings for all pixels, in place of the active set.

    Returns:
        `Unmixing` with `library_abundances` (M, N), zeros exact, and the `indices` of the endmembers; maps are
        (.., H, W) for a cube, and NaN where masked.

    Raises:
        ValueError: for a library of other bands or dtype, a negative strength, or a wrong number of endmembers.

    Source: J. Bioucas-Dias, M. Figueiredo, "Alternating direction algorithms for constrained sparse regression:
    application to hyperspectral unmixing", 2010 (the problem, and ADMM for it).

    Example:
        >>> import jax.numpy as jnp
        >>> library = jnp.eye(3)
        >>> found = sunsal(jnp.array([[0.7], [0.4], [0.05]]), library, 0.1)
        >>> print([f"{float(x):.2f}" for x in found.library_abundances.ravel()])
        ['0.60', '0.30', '0.00']
    """
    task = read_library(pixels, library, num_endmembers, mask)
    require_nonnegative(strength, "strength")
    smooth = least_squares(task)
    scaled = _tree.match(strength, smooth.vector) / unit_of(task)
    if solver is None:
        abundances, result = fit_sparse(smooth, scaled, default_admm(task), sum_to_one=sum_to_one)
    else:
        penalty = Simplex(1.0, axis=0) if sum_to_one else Tilted(NonNegative(), scaled)
        abundances, result = fit(smooth, penalty, solver)
    return from_abundances(task, abundances, num_endmembers, result)
