import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped


def cube_to_pixels(cube: ArrayLike) -> Shaped[Array, "L N"]:
    """Pixel matrix (L, N) of a cube (H, W, L), in row-major order: pixel `n = row * W + column`.

    Args:
        cube: (H, W, L), any unit.

    Returns:
        (L, H * W), the same numbers.

    Raises:
        ValueError: when `cube` does not have three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> cube_to_pixels(jnp.zeros((2, 3, 5))).shape
        (5, 6)
    """
    array = jnp.asarray(cube)
    if array.ndim != 3:
        raise ValueError(f"cube must have shape (H, W, L), got {array.shape}; add the missing axes.")
    return array.reshape(-1, array.shape[-1]).T


def pixels_to_cube(pixels: ArrayLike, height: int, width: int) -> Shaped[Array, "H W L"]:
    """Cube (H, W, L) of a row-major pixel matrix (L, N), the inverse of `cube_to_pixels`.

    Args:
        pixels: (L, N) with N = height * width, any unit.
        height: H, rows of the image.
        width: W, columns of the image.

    Returns:
        (H, W, L), the same numbers.

    Raises:
        ValueError: when `pixels` is not a matrix of height * width columns.

    Example:
        >>> import jax.numpy as jnp
        >>> pixels_to_cube(jnp.zeros((5, 6)), 2, 3).shape
        (2, 3, 5)
    """
    array = jnp.asarray(pixels)
    if array.ndim != 2 or array.shape[1] != height * width:
        raise ValueError(
            f"pixels must have shape (L, {height * width}) for height {height} and width {width}, got {array.shape}."
        )
    return array.T.reshape(height, width, -1)
