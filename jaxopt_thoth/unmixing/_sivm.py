from jaxtyping import Array, ArrayLike, Float, Int

from ._checks import as_mask, as_pixels, require_finite_pixels
from ._greedy_pixels import farthest_pixels


def sivm(
    pixels: ArrayLike, num_endmembers: int, *, mask: ArrayLike | None = None
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """Endmembers by simplex volume maximization: each pixel is the farthest from the affine hull of those before it.

    The first is the pixel of largest norm; when normalization made all norms equal, of those the farthest from the
    mean, so that rounding does not choose. Deterministic, without a draw. Gram-Schmidt on the differences to the
    first pixel replaces the Cayley-Menger systems of the original. One pass over the pixels a step, O(L N p) time,
    and O(N + L p) memory beyond the pixels. In float32, distances below about 3e-4 of the largest are rounding.

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 1 and the number of valid pixels.
        mask: (N,) booleans, True for a valid pixel; the others are never selected.

    Returns:
        Endmembers (L, p), the selected pixels themselves, and their indices (p,), both in the order of selection.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, or
            `num_endmembers` is out of range; beyond the rank of the pixels the further ones are distinct, no more.

    Source: R. Heylen, D. Burazerovic, P. Scheunders, "Fully constrained least squares spectral unmixing by simplex
    projection" (distance-based volume), 2011; C. Thurau et al., "Yes we can: simplex volume maximization", 2010.

    Example:
        >>> import jax.numpy as jnp
        >>> corners_and_middle = jnp.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
        >>> sivm(corners_and_middle, 2)[1].tolist()
        [0, 1]
    """
    values = as_pixels(pixels)
    require_finite_pixels(values, as_mask(mask, values.shape[1]))
    return farthest_pixels(values, num_endmembers, mask, affine=True)
