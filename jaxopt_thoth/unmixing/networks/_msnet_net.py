from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._layers import Block, Convolution, Dense, drop, resize


_DROPPED = 0.2


class _Encoder(eqx.Module):
    first: Block
    second: Block
    last: Convolution

    def __init__(self, inputs: int, outputs: int, width: int, *, key: PRNGKeyArray, dtype: Any) -> None:
        keys = jax.random.split(key, 3)
        like: dict[str, Any] = {"dtype": dtype, "slope": 0.2, "norm_first": False}
        self.first = Block(inputs, 2 * width, 3, key=keys[0], **like)
        self.second = Block(2 * width, width, 3, key=keys[1], **like)
        self.last = Convolution(width, outputs, 3, key=keys[2], dtype=dtype)

    def __call__(self, image: Float[Array, "H W inputs"], key: PRNGKeyArray | None) -> Float[Array, "H W p"]:
        keys = (None, None) if key is None else jax.random.split(key)
        hidden = drop(self.first(image), _DROPPED, keys[0])
        return self.last(drop(self.second(hidden), _DROPPED, keys[1]))


class MSNet(eqx.Module):
    """The network of `msnet`: abundances at a quarter, a half and the whole of the resolution, one after the other.

    Each scale has convolutions of 3 x 3 with `2 width`, `width` and p channels; what comes before the softmax is
    interpolated, mixed by a matrix, and joined to the next scale's pixels, themselves mixed by a matrix; both matrices
    are shared by the scales. One set of endmembers serves all scales: the published code has three decoders, but gives
    them one storage, so that they are one in effect. Borders are reflected, batch normalization uses the statistics of
    the image at hand, and a fifth of the entries is dropped where a key is given.

    Args:
        endmembers: (L, p) to begin with.
        key: random key of the weights.
        width: static, see above.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = MSNet(jnp.ones((20, 3)), key=jax.random.key(0), width=4)
        >>> images = jnp.ones((9, 7, 20)), jnp.ones((5, 4, 20)), jnp.ones((3, 2, 20))
        >>> [maps.shape for maps in network(images)]
        [(9, 7, 3), (5, 4, 3), (3, 2, 3)]
    """

    encoders: tuple[_Encoder, _Encoder, _Encoder]
    mix_maps: Dense
    mix_bands: Dense
    endmembers: Float[Array, "L p"]
    width: int = eqx.field(static=True)

    def __init__(self, endmembers: Float[Array, "L p"], *, key: PRNGKeyArray, width: int = 48) -> None:
        bands, count = endmembers.shape
        dtype: Any = endmembers.dtype
        keys = jax.random.split(key, 5)
        self.width = width
        self.endmembers = endmembers
        self.mix_maps = Dense(count, count, key=keys[0], dtype=dtype)
        self.mix_bands = Dense(bands, bands, key=keys[1], dtype=dtype)
        self.encoders = (
            _Encoder(bands + count, count, width, key=keys[2], dtype=dtype),
            _Encoder(bands + count, count, width, key=keys[3], dtype=dtype),
            _Encoder(bands, count, width, key=keys[4], dtype=dtype),
        )

    def __call__(
        self, images: tuple[Float[Array, "H W L"], ...], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "H W p"], ...]:
        """Abundances of the image at full, half and quarter resolution, nonnegative and of sum one."""
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        scores = [self.encoders[2](images[2], keys[2])]
        for scale in (1, 0):
            height, width, _ = images[scale].shape
            coarser = self.mix_maps(resize(scores[-1], height, width))
            joined = jnp.concatenate([self.mix_bands(images[scale]), coarser], axis=-1)
            scores.append(self.encoders[scale](joined, keys[scale]))
        fine, half, quarter = (jax.nn.softmax(score, axis=-1) for score in reversed(scores))
        return fine, half, quarter
