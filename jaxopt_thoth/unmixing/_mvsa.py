import jax.numpy as jnp
from jaxtyping import ArrayLike, PRNGKeyArray

from ._extraction_input import read_simplex
from ._shrink_simplex import default_tolerance, shrink_simplex
from ._simplex_fit import SimplexFit


def mvsa(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    key: PRNGKeyArray | None = None,
    mask: ArrayLike | None = None,
    tol: ArrayLike | None = None,
    max_steps: int = 100,
) -> SimplexFit:
    """Endmembers by minimum-volume simplex analysis: the smallest simplex that holds every pixel.

    No pure pixels are needed, and no pixel may lie outside: noise and outliers enlarge the simplex, where `sisal` lets
    them go. With Q the matrix that maps pixels to abundances, it maximizes `log |det Q|` over all Q whose abundances
    are not negative and sum to one, by a sequence of quadratic programs in the relative change D of Q, with the model
    `|D|^2 / 2 - tr D`, each solved by an interior point method that takes all pixels at once. A line search keeps the
    volume falling, with facets moved outward until they clear all pixels: every simplex on the way holds them. The
    first is greedy among the pixels. O(L^2 N) time for the components, then O(p^3 N) for each of some tens of steps.

    Args:
        pixels: (L, N), any unit; the simplex lies in their first p - 1 principal components.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels.
        key: key of a random first simplex; None takes the greedy one.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        tol: on the relative change of the simplex; 1e-7 in float64 and 1e-3 in float32 by default.
        max_steps: bound on the number of programs, static.

    Returns:
        A `SimplexFit`; `endmembers` (L, p) are no pixels, and `outside` is zero up to rounding.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, `num_endmembers`
            is out of range or exceeds the dimension that the pixels span by more than one.

    Source: J. Li, J. Bioucas-Dias, "Minimum volume simplex analysis: a fast algorithm to unmix hyperspectral data",
    2008.

    Example:
        >>> import jax.numpy as jnp
        >>> edges = jnp.array([[0.2, 0.8, 0.2, 0.8, 0.0, 0.0], [0.0, 0.0, 0.8, 0.2, 0.2, 0.8], [1.0] * 6])
        >>> fit = mvsa(edges, 3)
        >>> sorted((fit.endmembers[:2].T.round(3) + 0.0).tolist())
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    _, valid, space = read_simplex(pixels, num_endmembers, mask)
    dtype = space.coordinates.dtype
    given = jnp.asarray(default_tolerance(dtype) if tol is None else tol, dtype)
    return shrink_simplex(space, valid, None, key, given, num_endmembers, max_steps)
