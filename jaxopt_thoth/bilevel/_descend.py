"""One step of an optax transformation."""

import jax
import optax

from .._types import Params, State


def descend(
    optimizer: optax.GradientTransformation, gradient: Params, state: State, params: Params
) -> tuple[Params, State]:
    """Parameters after the step, and the state of the optimizer."""
    # Adam takes powers of Python numbers by integer arrays, which a caller's strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state
