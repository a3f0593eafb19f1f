import jax.numpy as jnp
from jaxtyping import ArrayLike, PRNGKeyArray

from .. import _validate
from ._extraction_input import read_simplex
from ._shrink_simplex import default_tolerance, shrink_simplex
from ._simplex_fit import SimplexFit


def sisal(
    pixels: ArrayLike,
    num_endmembers: int,
    *,
    outside: ArrayLike = 0.02,
    key: PRNGKeyArray | None = None,
    mask: ArrayLike | None = None,
    tol: ArrayLike | None = None,
    max_steps: int = 100,
) -> SimplexFit:
    """Endmembers by SISAL: the smallest simplex about the pixels, a few of which may lie outside of it.

    No pure pixels are needed: facets are found from the mixed pixels on them. With Q the matrix that maps pixels to
    abundances, it minimizes `-log |det Q| + t sum max(-Q y, 0)` over all Q whose abundances sum to one, by
    quadratic models of the first term, each followed by a line search, so that the objective falls in every step. The
    first simplex is greedy among the pixels.

    The published strength t depends on the number of pixels and on the noise. Here it is `(p - 1) / (N outside)`: at a
    stationary point the same fraction of the pixels is beyond each facet, less than `outside` by the sum over the
    facets of the mean negative abundances. The published solver of the models splits variables and takes hundreds of
    passes to a rough solution; here an interior point method solves each to a duality gap in about twenty of
    O(p^3 N) time, and the model is in the metric of the current simplex, which makes its steps few.

    Args:
        pixels: (L, N), any unit; the simplex lies in their first p - 1 principal components.
        num_endmembers: p, static, between 2 and the number of bands and of valid pixels.
        outside: fraction of the pixels to be left beyond each facet, in (0, 1): small for little noise, about half the
            fraction of pixels that lack a material for much.
        key: key of a random first simplex; None takes the greedy one.
        mask: (N,) booleans, True for a valid pixel; the others do not count.
        tol: on the relative change of the simplex; 1e-7 in float64 and 1e-3 in float32 by default.
        max_steps: bound on the number of models, static.

    Returns:
        A `SimplexFit`; `endmembers` (L, p) are no pixels.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, `num_endmembers`
            is out of range or exceeds the dimension that the pixels span by more than one, or `outside` is out of
            range.

    Source: J. Bioucas-Dias, "A variable splitting augmented Lagrangian approach to linear spectral unmixing", 2009.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=16, width=16, num_bands=30, purity=0.8)
        >>> fit = sisal(scene.pixels, 3)
        >>> fit.endmembers.shape, bool((fit.outside < 0.03).all())
        ((30, 3), True)
    """
    _, valid, space = read_simplex(pixels, num_endmembers, mask)
    known = _validate.concrete(outside)
    if known is not None and not (known.ndim == 0 and 0 < known < 1):
        raise ValueError(f"outside must be a number in (0, 1), got {outside}; mvsa leaves no pixel outside.")
    dtype = space.coordinates.dtype
    price = (num_endmembers - 1) / (jnp.asarray(outside, dtype) * jnp.sum(valid).astype(dtype))
    given = jnp.asarray(default_tolerance(dtype) if tol is None else tol, dtype)
    return shrink_simplex(space, valid, price, key, given, num_endmembers, max_steps)
