from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._layers import Block


class MiSiCNet(eqx.Module):
    """The network of `misicnet`: convolutions that make abundances, and the endmembers that are learned with them.

    A convolution of 3 x 3 beside 4 channels of the input, two more of 3 x 3, and a softmax. The published code
    defines one more layer that it does not use, and that is left out here. Borders are reflected, and batch
    normalization uses the statistics of the image at hand.

    Args:
        endmembers: (L, p) to begin with.
        key: random key of the weights.
        width: channels of the layers in between; static.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = MiSiCNet(jnp.ones((20, 3)), key=jax.random.key(0), width=8)
        >>> network(jnp.ones((9, 7, 20))).shape
        (9, 7, 3)
    """

    first: Block
    skip: Block
    joined: Block
    last: Block
    endmembers: Float[Array, "L p"]
    width: int = eqx.field(static=True)

    def __init__(self, endmembers: Float[Array, "L p"], *, key: PRNGKeyArray, width: int = 256) -> None:
        bands, count = endmembers.shape
        dtype: Any = endmembers.dtype
        keys = jax.random.split(key, 4)
        self.width = width
        self.endmembers = endmembers
        self.first = Block(bands, width, 3, key=keys[0], dtype=dtype)
        self.skip = Block(bands, 4, 1, key=keys[1], dtype=dtype)
        self.joined = Block(width + 4, width, 3, key=keys[2], dtype=dtype)
        self.last = Block(width, count, 3, key=keys[3], dtype=dtype)

    def __call__(self, image: Float[Array, "H W L"]) -> Float[Array, "H W p"]:
        """Abundances of each pixel, nonnegative and of sum one."""
        joined = jnp.concatenate([self.first(image), self.skip(image)], axis=-1)
        return jax.nn.softmax(self.last(self.joined(joined)), axis=-1)
