"""Layers on arrays whose last axis is the channels; any axes before the image's are a batch."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


# Up to here the stack of neighbors is small beside what the product with it costs.
_MOST_STACKED = 1024
_VARIANCE_FLOOR = 1e-5


class Dense(eqx.Module):
    """A linear map of the channels."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"] | None

    def __init__(
        self, inputs: int, outputs: int, *, key: PRNGKeyArray, dtype: Any, use_bias: bool = True, xavier: bool = False
    ) -> None:
        limit = (6 / (inputs + outputs)) ** 0.5 if xavier else inputs**-0.5
        weight_key, bias_key = jax.random.split(key)
        self.weight = jax.random.uniform(weight_key, (inputs, outputs), dtype, -limit, limit)
        drawn = jax.random.uniform(bias_key, (outputs,), dtype, -limit, limit)
        self.bias = (jnp.zeros(outputs, dtype) if xavier else drawn) if use_bias else None

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        out = jnp.matmul(x, self.weight)
        return out if self.bias is None else out + along_channels(self.bias, out)


class Convolution(eqx.Module):
    """A square convolution with reflected borders, as sums of matrix products over its offsets.

    XLA runs `lax.conv_general_dilated` and its derivatives fifty times slower inside a loop than outside of it on a
    processor without an accelerator; matrix products run at full speed in both places.
    """

    weight: Float[Array, "side side inputs outputs"]
    bias: Float[Array, " outputs"] | None
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        *,
        key: PRNGKeyArray,
        dtype: Any,
        stride: int = 1,
        use_bias: bool = True,
    ) -> None:
        limit = (inputs * side**2) ** -0.5
        weight_key, bias_key = jax.random.split(key)
        self.weight = jax.random.uniform(weight_key, (side, side, inputs, outputs), dtype, -limit, limit)
        self.bias = jax.random.uniform(bias_key, (outputs,), dtype, -limit, limit) if use_bias else None
        self.stride = stride

    def __call__(self, x: Float[Array, "... H W inputs"]) -> Float[Array, "... h w outputs"]:
        side, _, inputs, outputs = self.weight.shape
        height, width = (-(-size // self.stride) for size in x.shape[-3:-1])
        border = (side // 2, (side - 1) // 2)
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [border, border, (0, 0)], mode="reflect")

        def shifted(row: int, column: int) -> Array:
            last_row, last_column = (self.stride * (size - 1) + 1 for size in (height, width))
            return padded[..., row : row + last_row : self.stride, column : column + last_column : self.stride, :]

        offsets = [(row, column) for row in range(side) for column in range(side)]
        if side**2 * inputs <= _MOST_STACKED:
            stacked = jnp.concatenate([shifted(*offset) for offset in offsets], axis=-1)
            out = jnp.matmul(stacked, self.weight.reshape(-1, outputs))
        else:
            products = [jnp.matmul(shifted(*offset), self.weight[offset]) for offset in offsets]
            out = sum(products[1:], products[0])
        return out if self.bias is None else out + along_channels(self.bias, out)


class BatchNorm(eqx.Module):
    """Channels of mean 0 and variance 1 over all that is at hand, then an affine map that is learned."""

    scale: Float[Array, " channels"]
    offset: Float[Array, " channels"]

    def __init__(self, channels: int, *, dtype: Any) -> None:
        self.scale = jnp.ones(channels, dtype)
        self.offset = jnp.zeros(channels, dtype)

    def __call__(self, x: Float[Array, "... channels"]) -> Float[Array, "... channels"]:
        axes = tuple(range(x.ndim - 1))
        centered = x - jnp.mean(x, axis=axes, keepdims=True)
        variance = jnp.mean(centered * centered, axis=axes, keepdims=True)
        unit = centered * jax.lax.rsqrt(variance + _VARIANCE_FLOOR)
        return unit * along_channels(self.scale, x) + along_channels(self.offset, x)


class Block(eqx.Module):
    """A convolution, batch normalization, and a leaky rectifier, the last two in either order."""

    convolution: Convolution
    norm: BatchNorm
    slope: float = eqx.field(static=True)
    norm_first: bool = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        *,
        key: PRNGKeyArray,
        dtype: Any,
        stride: int = 1,
        slope: float = 0.1,
        norm_first: bool = True,
        use_bias: bool = True,
    ) -> None:
        self.convolution = Convolution(inputs, outputs, side, key=key, dtype=dtype, stride=stride, use_bias=use_bias)
        self.norm = BatchNorm(outputs, dtype=dtype)
        self.slope = slope
        self.norm_first = norm_first

    def __call__(self, x: Float[Array, "... H W inputs"]) -> Float[Array, "... h w outputs"]:
        rectify: Callable[[Array], Array] = lambda values: jax.nn.leaky_relu(values, self.slope)
        out = self.convolution(x)
        return rectify(self.norm(out)) if self.norm_first else self.norm(rectify(out))


def along_channels(values: Float[Array, " channels"], x: Float[Array, "... channels"]) -> Array:
    """A value for each channel, with the number of axes of `x`."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


def resize(x: Float[Array, "H W C"], height: int, width: int) -> Float[Array, "h w C"]:
    """Bilinear interpolation to another size of image."""
    return jax.image.resize(x, (height, width, x.shape[-1]), "bilinear", antialias=False)


def drop(x: Array, rate: float, key: PRNGKeyArray | None, *, whole: bool = False) -> Array:
    """Entries (whole channels of each image) set to zero at random and the rest scaled up; all without a key."""
    if key is None or rate == 0:
        return x
    shape = (*x.shape[:-3], 1, 1, x.shape[-1]) if whole else x.shape
    return jnp.where(jax.random.bernoulli(key, 1 - rate, shape), x / (1 - rate), 0)
