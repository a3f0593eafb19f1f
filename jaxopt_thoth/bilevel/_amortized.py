import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, Key

from .._types import Params, Scalar
from ..solvers._settings import count_setting
from ._base import outer_step
from ._bilevel import Bilevel, BilevelPoint
from ._stochastic import (
    AbstractStochasticBilevelSolver,
    directions,
    inner_descent,
    Schedule,
    step_at,
    step_setting,
    StochasticBilevelState,
)


class AbstractAmortizedSolver(AbstractStochasticBilevelSolver):
    """Some stochastic inner steps, an estimate of the adjoint on one outer batch, then one outer step."""

    inner_step: eqx.AbstractVar[Array | Schedule]
    adjoint_step: eqx.AbstractVar[Array | Schedule]
    inner_steps: eqx.AbstractVar[int]

    def estimated_adjoint(
        self,
        problem: Bilevel,
        point: BilevelPoint,
        start: Params,
        target: Params,
        step_size: Scalar,
        key: Key[Array, ""],
    ) -> Params:
        """Estimate of the solution q of `H q = target` at the point."""
        raise NotImplementedError

    def measured_directions(self, gradient: Params, residual: Params, along_hyper: Params) -> Scalar:
        """The error, from the inner gradient, what is left of the adjoint system, and the outer direction."""
        return self.measured(gradient, residual, along_hyper)

    def step(
        self, problem: Bilevel, params: BilevelPoint, state: StochasticBilevelState
    ) -> tuple[BilevelPoint, StochasticBilevelState]:
        key, for_inner, for_outer, for_adjoint, last = jax.random.split(state.key, 5)
        dtype = state.error.dtype
        size = step_at(self.inner_step, state.count, dtype)
        point = inner_descent(self, problem, params, for_inner, size, self.inner_steps)
        outer_data = self.outer_rows(problem, for_outer)
        target = problem.outer_gradients(point.params, point.hyper, outer_data)[1]
        size = step_at(self.adjoint_step, state.count, dtype)
        adjoint = self.estimated_adjoint(problem, point, state.adjoint, target, size, for_adjoint)
        along = directions(problem, point, adjoint, self.inner_rows(problem, last), outer_data)
        hyper, optimizer = outer_step(problem, self.optimizer, point.hyper, along[2], state.optimizer)
        error = self.measured_directions(*along)
        new = BilevelPoint(hyper, point.params)
        return new, StochasticBilevelState(adjoint, optimizer, key, state.count + 1, error)

    def hessian_product(self, problem: Bilevel, point: BilevelPoint, v: Params, key: Key[Array, ""]) -> Params:
        """The inner Hessian on rows of its own, times a vector."""
        data = self.inner_rows(problem, key)
        return jax.jvp(lambda w: problem.inner_gradient(w, point.hyper, data), (point.params,), (v,))[1]


def amortized_settings(
    inner_step: ArrayLike | Schedule, adjoint_step: ArrayLike | Schedule | None, inner_steps: int
) -> dict[str, Array | Schedule | int]:
    """The settings of the inner and adjoint steps, checked."""
    return {
        "inner_step": step_setting(inner_step, "inner_step"),
        "adjoint_step": step_setting(inner_step if adjoint_step is None else adjoint_step, "adjoint_step"),
        "inner_steps": count_setting(inner_steps, "inner_steps", 1),
    }
