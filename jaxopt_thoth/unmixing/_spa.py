import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _validate
from ._checks import check_count
from ._extraction_input import read_extraction
from ._greedy_pixels import farthest_pixels


def spa(
    pixels: ArrayLike, num_endmembers: int, *, mask: ArrayLike | None = None
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """Endmembers by successive projections: the pixel of largest norm, then again of what is orthogonal to it.

    The steps of `atgp`, with a promise. Let every endmember be within e of a pixel and every pixel within e of a
    convex combination of them (sums up to one), s the least singular value of the endmembers and k the ratio of their
    largest norm to s. When e is below a constant times `s / (sqrt(p) k^2)`, the pixels found are within a constant
    times `e k^2` of the endmembers, one each. Deterministic; O(L N p) time and O(N + L p) memory beyond the pixels.

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 1 and the number of bands and of valid pixels.
        mask: (N,) booleans, True for a valid pixel; the others are never selected.

    Returns:
        Endmembers (L, p), the selected pixels themselves, and their indices (p,), both in the order of selection.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, or
            `num_endmembers` is out of range or exceeds the rank of the pixels.

    Source: M. C. U. Araujo et al., "The successive projections algorithm for variable selection in spectroscopic
    multicomponent analysis", 2001; N. Gillis, S. A. Vavasis, "Fast and robust recursive algorithms for separable
    nonnegative matrix factorization", 2014.

    Example:
        >>> import jax.numpy as jnp
        >>> corners_and_middle = jnp.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
        >>> spa(corners_and_middle, 2)[1].tolist()
        [0, 1]
    """
    values, valid = read_extraction(pixels, mask)
    check_count(num_endmembers, 1, values, valid)
    if num_endmembers > values.shape[0]:
        raise ValueError(f"num_endmembers must be at most the number of bands {values.shape[0]}, got {num_endmembers}.")
    found, indices = farthest_pixels(values, num_endmembers, valid, affine=False)
    known = _validate.concrete(_rank(found))
    if known is not None and known < num_endmembers:
        raise ValueError(
            f"num_endmembers must be at most {int(known)}, the rank of the valid pixels, got {num_endmembers}; "
            "ask for fewer."
        )
    return found, indices


@jax.jit
def _rank(found: Float[Array, "L p"]) -> Int[Array, ""]:
    # The order of selection sorts the diagonal like a pivoted factorization does.
    sizes = jnp.abs(jnp.diagonal(jnp.linalg.qr(found, mode="r")))
    return jnp.sum(sizes > 100 * found.shape[1] * jnp.finfo(found.dtype).eps * jnp.max(sizes))
