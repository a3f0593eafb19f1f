from jaxtyping import Array, ArrayLike, Float, Int

from ._checks import as_mask, as_pixels, require_finite_pixels
from ._greedy_pixels import farthest_pixels


def atgp(
    pixels: ArrayLike, num_endmembers: int, *, mask: ArrayLike | None = None
) -> tuple[Float[Array, "L p"], Int[Array, " p"]]:
    """Endmembers by automatic target generation: each pixel is the farthest from the span of those before it.

    Also known as the successive projection algorithm (SPA). It differs from `sivm` by the origin, which counts as a
    vertex here. Deterministic (the first pixel as in `sivm`); O(L N p) time and O(N + L p) memory beyond the pixels.

    Args:
        pixels: (L, N), any unit.
        num_endmembers: p, static, between 1 and the number of valid pixels.
        mask: (N,) booleans, True for a valid pixel; the others are never selected.

    Returns:
        Endmembers (L, p), the selected pixels themselves, and their indices (p,), both in the order of selection.

    Raises:
        ValueError: when `pixels` is not a matrix or not finite where valid, `mask` does not fit it, or
            `num_endmembers` is out of range; beyond the rank of the pixels the further ones are distinct, no more.

    Source: H. Ren, C.-I. Chang, "Automatic spectral target recognition in hyperspectral imagery", 2003.

    Example:
        >>> import jax.numpy as jnp
        >>> corners_and_middle = jnp.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
        >>> atgp(corners_and_middle, 2)[1].tolist()
        [0, 1]
    """
    values = as_pixels(pixels)
    require_finite_pixels(values, as_mask(mask, values.shape[1]))
    return farthest_pixels(values, num_endmembers, mask, affine=False)
