from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._layers import Block, Convolution, drop


_DROPPED = 0.2


class CNNAEU(eqx.Module):
    """The network of `cnnaeu`: an autoencoder of two convolutions with a wide convolution as its mixing model.

    A convolution of 3 x 3 and one of 1 x 1 and a steep softmax make the abundances; the decoder mixes those of the
    neighborhood of a pixel. Whole channels are dropped at random, a fifth of them, where a key is given. Borders are
    reflected, and batch normalization uses the statistics of the images at hand.

    Args:
        num_bands: L.
        num_endmembers: p.
        key: random key of the weights.
        width: channels in between; static.
        side: of the decoder's neighborhood, odd; static.
        sharpness: factor before the softmax.
        dtype: of the weights, JAX's default by default.

    Raises:
        ValueError: for an even side.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = CNNAEU(20, 3, key=jax.random.key(0), width=8, side=3)
        >>> maps = network(jnp.ones((9, 7, 20)))
        >>> maps.shape, network.decode(maps).shape, network.endmembers.shape
        ((9, 7, 3), (9, 7, 20), (20, 3))
    """

    first: Block
    second: Block
    decode: Convolution
    sharpness: float = eqx.field(static=True)
    width: int = eqx.field(static=True)

    def __init__(
        self,
        num_bands: int,
        num_endmembers: int,
        *,
        key: PRNGKeyArray,
        width: int = 48,
        side: int = 11,
        sharpness: float = 3.0,
        dtype: Any = None,
    ) -> None:
        if side % 2 == 0 or side < 1:
            raise ValueError(f"side must be odd and positive, got {side}.")
        dtype = jnp.result_type(float) if dtype is None else dtype
        keys = jax.random.split(key, 3)
        like: dict[str, Any] = {"dtype": dtype, "slope": 0.02, "norm_first": False, "use_bias": False}
        self.width, self.sharpness = width, sharpness
        self.first = Block(num_bands, width, 3, key=keys[0], **like)
        self.second = Block(width, num_endmembers, 1, key=keys[1], **like)
        decode = Convolution(num_endmembers, num_bands, side, key=keys[2], dtype=dtype, use_bias=False)
        self.decode = eqx.tree_at(lambda c: c.weight, decode, jnp.abs(decode.weight))

    def __call__(self, images: Float[Array, "... H W L"], *, key: PRNGKeyArray | None = None) -> Array:
        """Abundances (.., H, W, p) of each pixel, nonnegative and of sum one."""
        keys = (None, None) if key is None else jax.random.split(key)
        hidden = drop(self.first(images), _DROPPED, keys[0], whole=True)
        code = drop(self.second(hidden), _DROPPED, keys[1], whole=True)
        return jax.nn.softmax(self.sharpness * code, axis=-1)

    @property
    def endmembers(self) -> Float[Array, "L p"]:
        """What the decoder makes of an image of one material alone."""
        return jnp.sum(self.decode.weight, axis=(0, 1)).T
