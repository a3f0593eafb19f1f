from collections.abc import Sequence

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from ._hyper_layer import AbstractHyperLayer, new_gates, split_gates


class HyperConv2d(AbstractHyperLayer):
    """A convolution whose output channels are gated by hyper-parameters, as in `HyperLinear`.

    `y = K * x + b + a(h) (K' * x) + c(h) b'`, where `[a; c] = E (h - center)` has one entry for each output channel.

    MacKay, Vicol, Lorraine, Duvenaud and Grosse, "Self-tuning networks: bilevel optimization of hyperparameters using
    structured best-response functions", 2019.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: height and width of the kernel, one number or two.
        num_hyper: number m of hyper-parameters.
        stride: stride of the convolution, one number or two.
        padding: zeros on each side of the image.
        key: random key of the weights.

    Raises:
        ValueError: if `num_hyper` is below 1; when called, if the hyper-parameters have another size.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> layer = bilevel.HyperConv2d(1, 4, 3, num_hyper=2, padding=1, key=jax.random.key(0))
        >>> layer(jnp.ones((5, 1, 8, 8)), jnp.zeros(2)).shape
        (5, 4, 8, 8)
    """

    base: eqx.nn.Conv2d
    response: eqx.nn.Conv2d
    gates: Float[Array, "2*out m"]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        num_hyper: int,
        *,
        stride: int | Sequence[int] = 1,
        padding: int = 0,
        key: Key[Array, ""],
    ):
        make = lambda key: eqx.nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, key=key)
        self.base, self.response, self.gates = new_gates(make, out_channels, num_hyper, key)

    def __call__(
        self,
        x: Float[Array, "*batch channels height width"],
        h: Float[Array, "*batch m"],
        center: Float[Array, "*batch m"] | None = None,
    ) -> Float[Array, "*batch out new_height new_width"]:
        """Images (..., out_channels, H, W); `h` and `center` have the batch axes of `x`, or none (they are shared)."""
        batch = x.shape[:-3]
        scale, shift = split_gates(self.gates, h, center, batch)

        def one(x: Array, scale: Array, shift: Array) -> Array:
            bias = self.response.bias
            assert bias is not None
            # Taken off again, since its gate is not that of the kernel.
            kernel = self.response(x) - bias
            return self.base(x) + scale[:, None, None] * kernel + shift[:, None, None] * bias

        for _ in batch:
            one = jax.vmap(one)
        return one(x, scale, shift)
