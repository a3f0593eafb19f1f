"""What the layers of self-tuning networks share: gates linear in the hyper-parameters, and which leaves respond."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..solvers._settings import count_setting


class AbstractHyperLayer(eqx.Module):
    """A layer gated by hyper-parameters.

    Attributes:
        base: the layer at the center of the hyper-parameters.
        response: the layer of which the gates add a multiple to each output.
        gates: matrix from the hyper-parameters to the gates.
    """

    base: eqx.AbstractVar[Any]
    response: eqx.AbstractVar[Any]
    gates: eqx.AbstractVar[Float[Array, "k m"]]


def new_gates(make: Callable[[Key[Array, ""]], Any], out: int, num_hyper: int, key: Key[Array, ""]) -> tuple:
    """Two layers of one kind, and the matrix of the gates, drawn from three keys."""
    count_setting(num_hyper, "num_hyper", 1)
    base_key, response_key, gate_key = jax.random.split(key, 3)
    base = make(base_key)
    gates = 0.01 * jax.random.normal(gate_key, (2 * out, num_hyper), base.weight.dtype)
    return base, make(response_key), gates


def split_gates(
    gates: Float[Array, "k m"], h: Float[Array, "*batch m"], center: Float[Array, "*batch m"] | None, batch: tuple
) -> tuple[Array, Array]:
    """Gates of the outputs and of the biases, (*batch, out) each."""
    for name, value in (("h", h), ("center", center)):
        if value is not None and (value.shape[-1:] != gates.shape[1:] or value.shape[:-1] not in ((), batch)):
            raise ValueError(
                f"{name} must have shape {(gates.shape[1],)} or {(*batch, gates.shape[1])}, got {value.shape}; pass "
                "one vector of hyper-parameters for all rows, or one a row."
            )
    if center is not None:
        if h.ndim < center.ndim:
            h = jnp.broadcast_to(h, center.shape)
        h = h - jnp.broadcast_to(center, h.shape)
    values = h @ gates.T
    values = jnp.broadcast_to(values, (*batch, values.shape[-1]))
    scale, shift = jnp.split(values, 2, axis=-1)
    return scale, shift


def responding(model: Any) -> Any:
    """A pytree of booleans like `model`: True at the leaves through which hyper-parameters act."""
    is_layer = lambda node: isinstance(node, AbstractHyperLayer)
    every = lambda node, value: jax.tree.map(lambda _: value, node)

    def mark(node: Any) -> Any:
        if not is_layer(node):
            return False
        marked = every(node, False)
        return eqx.tree_at(
            lambda layer: (layer.response, layer.gates), marked, (every(node.response, True), every(node.gates, True))
        )

    return jax.tree.map(mark, model, is_leaf=is_layer)
