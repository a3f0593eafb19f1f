from typing import Self

import equinox as eqx
import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar, State
from ..problems import Composite


class AbstractSolver(eqx.Module):
    """An iterative method as three pure functions; `solve` drives them, or a user does by hand.

    Attributes:
        tol: tolerance on `error`; None takes about the square root of the rounding unit of the parameters.
        max_steps: bound on the number of steps.
    """

    tol: eqx.AbstractVar[Scalar | None]
    max_steps: eqx.AbstractVar[int]

    def init(self, problem: Composite, params: Params) -> State:
        """State before the first step, a pytree of arrays."""
        raise NotImplementedError

    def step(self, problem: Composite, params: Params, state: State) -> tuple[Params, State]:
        """One step of the method."""
        raise NotImplementedError

    def error(self, problem: Composite, params: Params, state: State) -> Scalar:
        """Distance from optimality after a step, in the units of `tol`."""
        raise NotImplementedError

    def fixed_point_step(self, problem: Composite, params: Params, state: State) -> Scalar:
        """About the inverse curvature at the solution: the step of the fixed-point map that adjoints differentiate."""
        return jnp.ones((), _tree.dtype_of(params))

    def for_unrolling(self) -> Self:
        """The same method with steps that reverse mode can pass through."""
        return self

    def tolerance(self, params: Params) -> Scalar:
        """`tol`, or its default, in the dtype of the parameters."""
        dtype = _tree.dtype_of(params)
        return jnp.asarray(_tree.default_tolerance(dtype) if self.tol is None else self.tol, dtype)
