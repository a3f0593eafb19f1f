"""FISTA hosted as an optimistix fixed-point solver: the map is forward-backward, momentum lives in the state."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx


class _State(eqx.Module):
    point: jax.Array
    momentum: jax.Array
    error: jax.Array


class Fista(optx.AbstractFixedPointSolver):
    rtol: float
    atol: float
    step_size: Any
    norm: Callable = optx.two_norm

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        return _State(y, jnp.ones(()), jnp.asarray(jnp.inf))

    def step(self, fn, y, args, options, state, tags):
        new, aux = fn(state.point, args)
        change = new - state.point
        restart = jnp.vdot(change, new - y) < 0
        momentum = jnp.where(restart, 1.0, (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2)
        weight = jnp.where(restart, 0.0, (state.momentum - 1) / momentum)
        error = jnp.linalg.norm(change) / self.step_size
        return new, _State(new + weight * (new - y), momentum, error), aux

    def terminate(self, fn, y, args, options, state, tags):
        return state.error <= self.atol, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return y, aux, {}
