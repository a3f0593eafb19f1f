from typing import Any, ClassVar, Self

import equinox as eqx
import jax.numpy as jnp

from .. import _tree
from .._types import BoolScalar, Params, Scalar, State
from ..problems import AbstractProblem, Composite


class AbstractSolver(eqx.Module):
    """An iterative method as three pure functions; `solve` drives them, or a user does by hand.

    Attributes:
        tol: tolerance on `error`; None takes about the square root of the rounding unit of the parameters.
        max_steps: bound on the number of steps.
        problem_kind: the kind of problem that it solves.
        error_shows_nan: whether `error` is NaN wherever the parameters are not finite, so that no loop has to look.
        is_incremental: whether a step passes over the rows of a `LinearModel`, a few at a time.
    """

    problem_kind: ClassVar[type[AbstractProblem]] = Composite
    error_shows_nan: ClassVar[bool] = False
    is_incremental: ClassVar[bool] = False
    tol: eqx.AbstractVar[Scalar | None]
    max_steps: eqx.AbstractVar[int]

    def check(self, problem: Any, params: Params) -> None:
        """Raise where the method cannot take the problem or the start; stays silent on values that are traced."""

    def init(self, problem: Any, params: Params) -> State:
        """State before the first step, a pytree of arrays."""
        raise NotImplementedError

    def step(self, problem: Any, params: Params, state: State) -> tuple[Params, State]:
        """One step of the method."""
        raise NotImplementedError

    def error(self, problem: Any, params: Params, state: State) -> Scalar:
        """Distance from optimality after a step, in the units of `tol`."""
        raise NotImplementedError

    def is_infeasible(self, problem: Any, params: Params, state: State) -> BoolScalar:
        """Whether the state certifies that there is no solution, which ends the run as `RESULTS.infeasible`."""
        return jnp.asarray(False)

    def fixed_point_step(self, problem: Any, params: Params, state: State) -> Scalar:
        """About the inverse curvature at the solution: the step of the fixed-point map that adjoints differentiate."""
        return jnp.ones((), _tree.dtype_of(params))

    def relocated(self, problem: Any, params: Params, state: State) -> State:
        """State to go on from `params` where another method has moved the iterate; a fresh one by default."""
        return self.init(problem, params)

    def for_unrolling(self) -> Self:
        """The same method with steps that reverse mode can pass through."""
        return self

    def tolerance(self, params: Params) -> Scalar:
        """`tol`, or its default, in the dtype of the parameters."""
        dtype = _tree.dtype_of(params)
        return jnp.asarray(_tree.default_tolerance(dtype) if self.tol is None else self.tol, dtype)
