"""One step of an optax transformation."""

import equinox as eqx
import jax
import optax

from .._types import Params, State


def descend(
    optimizer: optax.GradientTransformation, gradient: Params, state: State, params: Params
) -> tuple[Params, State]:
    """Parameters after the step, of which only floating-point arrays are moved, and the state of the optimizer."""
    arrays = eqx.filter(params, eqx.is_inexact_array)
    # Adam takes powers of Python numbers by integer arrays, which a caller's strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(gradient, state, arrays)
    return eqx.combine(optax.apply_updates(arrays, updates), params), state
