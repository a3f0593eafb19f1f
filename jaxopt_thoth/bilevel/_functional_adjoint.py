import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar, State


class FunctionalSystem(eqx.Module):
    """What an adjoint function has to solve: the second-order expansion of both losses along the predictions.

    The adjoint function q minimizes `E_in[q(x)' H(x) q(x)] / 2 - E_out[q(x)' d(x)]`, H the Hessian of the inner loss
    and d the gradient of the outer loss in the prediction, both at the prediction of the model, V numbers in a row.

    Attributes:
        model: the model, for adjoints that share its features.
        inner_inputs: inputs of the n inner examples.
        outer_inputs: inputs of the m outer examples.
        outer_slopes: gradients d of the outer loss (m, V).
        product: maps directions (n, V) to the products (n, V) with the Hessians H.
        hessian: makes the Hessians H (n, V, V).
    """

    model: Callable[[Any], Array]
    inner_inputs: Any
    outer_inputs: Any
    outer_slopes: Float[Array, "m V"]
    product: Callable[[Array], Array]
    hessian: Callable[[], Array]

    def quadratic(self, inner_values: Float[Array, "n V"]) -> Scalar:
        """`E_in[q' H q] / 2` for values of q at the inner inputs."""
        return jnp.sum(inner_values * self.product(inner_values)) / (2 * inner_values.shape[0])

    def linear(self, outer_values: Float[Array, "m V"]) -> Scalar:
        """`E_out[q' d]` for values of q at the outer inputs."""
        return jnp.sum(outer_values * self.outer_slopes) / outer_values.shape[0]


class FunctionalAdjoint(eqx.Module):
    """An adjoint function, where the hypergradient needs it.

    Attributes:
        values: values q(x) at the inner inputs (n, V).
        state: warm start of the next solve.
        residual: norm of the gradient of the adjoint objective in the coordinates of the function class, relative to
            that of its linear part; 0 at the solution.
    """

    values: Float[Array, "n V"]
    state: State
    residual: Scalar


class AbstractFunctionalAdjoint(eqx.Module):
    """How the adjoint function of `functional_hypergradient` is found: the class it is in, and the solver."""

    def init(self) -> State:
        """The state of the first solve; None for a closed form."""
        return None

    @abc.abstractmethod
    def solve(self, system: FunctionalSystem, state: State) -> FunctionalAdjoint:
        """The adjoint function of a system."""
