"""A blur with a small kernel as a matrix that acts on the kernel."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._blur import Blur
from ._differences import differences
from ._downsample import Downsample
from ._images import Boundary, high_precision


def patches(
    sharp: Float[Array, "H W L"], size: tuple[int, int], keep: Downsample, boundary: Boundary
) -> Float[Array, "ab hwL"]:
    """The images `keep(Blur(e_t)(sharp))` of all unit kernels e_t, one a row: kernels combine them."""
    units = jnp.eye(size[0] * size[1], dtype=sharp.dtype).reshape(-1, *size)
    shifted = jax.lax.map(lambda unit: keep(Blur(unit, boundary)(sharp)), units)
    return shifted.reshape(len(units), -1)


def kernel_roughness(size: tuple[int, int], dtype: jnp.dtype) -> Float[Array, "ab ab"]:
    """`D'D` of the differences D of neighboring entries of a kernel, its border taken as free."""
    units = jnp.eye(size[0] * size[1], dtype=dtype).reshape(-1, *size)
    steps = jax.vmap(lambda unit: differences(unit, periodic=False).ravel())(units)
    return high_precision(steps, steps.T)
