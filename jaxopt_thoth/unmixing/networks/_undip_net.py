from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._layers import BatchNorm, Block, Dense, resize


class UnDIPNet(eqx.Module):
    """The network of UnDIP and SUnCNN: an image prior of two scales with a thin skip, and a softmax at its end.

    Two convolutions of 3 x 3 at half of the resolution, interpolated back (and cut to the image, where its sides are
    odd), beside 4 channels of the input itself; then one of 3 x 3 and two of 1 x 1. Borders are reflected, and batch
    normalization uses the statistics of the image at hand.

    Args:
        num_bands: channels of the input.
        num_outputs: endmembers, or atoms of a library.
        key: random key of the weights.
        width: channels of the layers in between; static.
        dtype: of the weights, JAX's default by default.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = UnDIPNet(20, 3, key=jax.random.key(0), width=8)
        >>> network(jnp.ones((9, 7, 20))).shape
        (9, 7, 3)
    """

    coarse: tuple[Block, Block]
    skip: Block
    joined: BatchNorm
    fine: tuple[Block, Block]
    last: Dense
    width: int = eqx.field(static=True)

    def __init__(
        self, num_bands: int, num_outputs: int, *, key: PRNGKeyArray, width: int = 256, dtype: Any = None
    ) -> None:
        dtype = jnp.result_type(float) if dtype is None else dtype
        keys = jax.random.split(key, 6)
        self.width = width
        self.coarse = (
            Block(num_bands, width, 3, key=keys[0], dtype=dtype, stride=2),
            Block(width, width, 3, key=keys[1], dtype=dtype),
        )
        self.skip = Block(num_bands, 4, 1, key=keys[2], dtype=dtype)
        self.joined = BatchNorm(width + 4, dtype=dtype)
        self.fine = (
            Block(width + 4, width, 3, key=keys[3], dtype=dtype),
            Block(width, width, 1, key=keys[4], dtype=dtype),
        )
        self.last = Dense(width, num_outputs, key=keys[5], dtype=dtype)

    def __call__(self, image: Float[Array, "H W L"]) -> Float[Array, "H W p"]:
        """Abundances of each pixel, nonnegative and of sum one."""
        height, width, _ = image.shape
        coarse = self.coarse[1](self.coarse[0](image))
        coarse = resize(coarse, 2 * coarse.shape[0], 2 * coarse.shape[1])[:height, :width]
        joined = self.joined(jnp.concatenate([coarse, self.skip(image)], axis=-1))
        return jax.nn.softmax(self.last(self.fine[1](self.fine[0](joined))), axis=-1)
