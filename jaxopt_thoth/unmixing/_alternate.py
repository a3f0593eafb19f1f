from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar


class Descent(NamedTuple):
    """How an alternation ran.

    Attributes:
        factors: the last factors.
        loss: (T,) the objective after each sweep, NaN beyond the last one.
        num_steps: the number of sweeps.
        settled: whether the objective fell by less than the tolerance, relative to itself, in the last sweep.
    """

    factors: Any
    loss: Float[Array, " T"]
    num_steps: IntScalar
    settled: BoolScalar


def alternate(
    sweep: Callable[[Any], tuple[Any, Scalar]], factors: Any, start: Scalar, tol: Scalar, max_steps: int
) -> Descent:
    """Repeat `sweep`, which gives new factors and their objective, until the objective `start` no longer falls."""

    def step(carry: tuple[Descent, Scalar]) -> tuple[Descent, Scalar]:
        state, before = carry
        new, after = sweep(state.factors)
        loss = state.loss.at[state.num_steps].set(after)
        settled = before - after <= tol.astype(after.dtype) * jnp.abs(after)
        return Descent(new, loss, state.num_steps + 1, settled), after

    blank = jnp.full((max_steps,), jnp.nan, start.dtype)
    first = Descent(factors, blank, jnp.asarray(0, jnp.int32), jnp.asarray(False))
    return while_loop(lambda c: ~c[0].settled & (c[0].num_steps < max_steps), step, (first, start))[0]
