import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._hyper_layer import AbstractHyperLayer, new_gates, split_gates


class HyperLinear(AbstractHyperLayer):
    """A linear layer whose output is gated by hyper-parameters: its best response to them, to first order.

    `y = W x + b + a(h) * (W' x) + c(h) * b'`, where `[a; c] = E (h - center)`: two matrix products, each row of a batch
    with hyper-parameters of its own. With `center` at the current hyper-parameters `W` and `b` are the weights there,
    and the rest is their derivative (Delta-STN); without one this is the layer of Self-Tuning Networks. The weights
    start uniform within `1 / sqrt(in_size)`, and `E` normal with standard deviation 0.01.

    MacKay, Vicol, Lorraine, Duvenaud and Grosse, "Self-tuning networks: bilevel optimization of hyperparameters using
    structured best-response functions", 2019; Bae and Grosse, "Delta-STN: efficient bilevel optimization for neural
    networks using structured response Jacobians", 2020.

    Args:
        in_size: number of inputs.
        out_size: number of outputs.
        num_hyper: number m of hyper-parameters.
        key: random key of the weights.

    Raises:
        ValueError: if `num_hyper` is below 1; when called, if the hyper-parameters have another size.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> layer = bilevel.HyperLinear(3, 2, num_hyper=1, key=jax.random.key(0))
        >>> layer(jnp.ones((5, 3)), jnp.linspace(-1.0, 1.0, 5)[:, None]).shape
        (5, 2)
    """

    base: eqx.nn.Linear
    response: eqx.nn.Linear
    gates: Float[Array, "2*out m"]

    def __init__(self, in_size: int, out_size: int, num_hyper: int, *, key: Key[Array, ""]):
        self.base, self.response, self.gates = new_gates(
            lambda key: eqx.nn.Linear(in_size, out_size, key=key), out_size, num_hyper, key
        )

    def __call__(
        self, x: Float[Array, "*batch in"], h: Float[Array, "*batch m"], center: Float[Array, "*batch m"] | None = None
    ) -> Float[Array, "*batch out"]:
        """Outputs (..., out_size); `h` and `center` have the batch axes of `x`, or none: then they are shared."""
        scale, shift = split_gates(self.gates, h, center, x.shape[:-1])
        plain = x @ self.base.weight.T
        gated = scale * (x @ self.response.weight.T)
        bias, response_bias = self.base.bias, self.response.bias
        assert bias is not None and response_bias is not None
        return (
            plain + gated + jnp.broadcast_to(bias, plain.shape) + shift * jnp.broadcast_to(response_bias, plain.shape)
        )
