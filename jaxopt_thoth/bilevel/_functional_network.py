from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import Array

from .._types import State
from ..gradients._descend import descend
from ._functional_adjoint import AbstractFunctionalAdjoint, FunctionalAdjoint, FunctionalSystem
from ._functional_packed import Packed
from ._functional_rows import flat_rows, relative_residual


class NetworkAdjoint(AbstractFunctionalAdjoint):
    """Adjoint function in the class of a network, by steps of an optax transformation on the adjoint objective.

    Each solve takes `num_steps` steps from where the last one ended, on the two batches that the hypergradient uses.

    Petrulionyte, Mairal and Arbel, "Functional bilevel optimization for machine learning", 2024.

    Args:
        network: maps one input to as many numbers as the model does; its weights are the start.
        optimizer: an optax transformation, by default `optax.adam(1e-3)`.
        num_steps: number of steps of a solve.

    Raises:
        ValueError: if `num_steps` is negative; when solving, if the network and the model differ in their outputs.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> z, x = jnp.array([[-1.0], [0.0], [1.0]]), jnp.array([-1.5, 0.0, 2.5])
        >>> inner, outer = lambda w, v, z, x: (v - w * x) ** 2, lambda w, v, z: v**2
        >>> network = eqx.nn.Linear(1, "scalar", key=jax.random.key(0))
        >>> adjoint = jt.bilevel.NetworkAdjoint(network, optax.sgd(0.4), num_steps=100)
        >>> found = jt.bilevel.functional_hypergradient(
        ...     outer, inner, lambda z: 2.0 * z[0], 1.0, (z, x), (z,), adjoint=adjoint)
        >>> print(found.gradient.round(3))
        5.333
    """

    network: Callable[[Any], Array]
    optimizer: optax.GradientTransformation
    num_steps: int = eqx.field(static=True)

    def __init__(
        self,
        network: Callable[[Any], Array],
        optimizer: optax.GradientTransformation | None = None,
        num_steps: int = 20,
    ):
        if num_steps < 0:
            raise ValueError(f"num_steps must be nonnegative, got {num_steps}; pass the number of optax steps.")
        self.network = network
        self.optimizer = optax.adam(1e-3) if optimizer is None else optimizer
        self.num_steps = num_steps

    def init(self) -> State:
        weights = eqx.filter(self.network, eqx.is_inexact_array)
        return Packed(self.network), self.optimizer.init(weights)

    def solve(self, system: FunctionalSystem, state: State) -> FunctionalAdjoint:
        packed, start = state
        weights, rest = eqx.partition(packed.tree, eqx.is_inexact_array)

        def values(weights: Any, inputs: Any) -> Array:
            return flat_rows(jax.vmap(eqx.combine(weights, rest))(inputs))

        expected = system.outer_slopes.shape[1]
        size = jax.eval_shape(values, weights, system.outer_inputs).shape[1]
        if size != expected:
            raise ValueError(f"network must return {expected} numbers for an input, as the model does, got {size}.")
        linear = lambda weights: -system.linear(values(weights, system.outer_inputs))
        slope = jax.grad(lambda weights: system.quadratic(values(weights, system.inner_inputs)) + linear(weights))

        def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            weights, memory = carry
            return descend(self.optimizer, slope(weights), memory, weights), None

        (weights, memory), _ = jax.lax.scan(step, (weights, start), None, length=self.num_steps)
        residual = relative_residual(slope(weights), jax.grad(linear)(weights))
        state = Packed(eqx.combine(weights, rest)), memory
        return FunctionalAdjoint(values(weights, system.inner_inputs), state, residual)
