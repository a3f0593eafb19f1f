import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from ... import _tree, solvers
from ..._types import IntScalar, Params, Scalar
from ..._validate import require_positive
from ...problems import AbstractProblem, Composite
from ...solvers import AbstractSolver
from ._iterative_solver import Call, is_positive, IterativeSolver, require_callable
from ._opt_step import OptStep
from ._terms import ProxPenalty
from .prox import prox_none


class ScheduledState(eqx.Module):
    """State of `ScheduledProximalGradient`: that of the method, and the number of steps."""

    method: solvers.ProximalGradientState
    count: IntScalar


class ScheduledProximalGradient(AbstractSolver):
    """Our proximal gradient method with an error that is absolute, as jaxopt's, and step sizes by a schedule."""

    method: solvers.ProximalGradient
    tol: Scalar
    schedule: Callable[[Array], ArrayLike] | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def init(self, problem: Any, params: Params) -> ScheduledState:
        return ScheduledState(self.method.init(problem, params), jnp.zeros((), jnp.int32))

    def step(self, problem: Any, params: Params, state: ScheduledState) -> tuple[Params, ScheduledState]:
        method = state.method
        if self.schedule is not None:
            step_size = jnp.asarray(self.schedule(state.count)).astype(method.step_size.dtype)
            method = eqx.tree_at(lambda s: s.step_size, method, step_size)
        params, method = self.method.step(problem, params, method)
        return params, ScheduledState(method, state.count + 1)

    def error(self, problem: Any, params: Params, state: ScheduledState) -> Scalar:
        return state.method.error * jnp.maximum(1, state.method.gradient_norm)

    def fixed_point_step(self, problem: Any, params: Params, state: ScheduledState) -> Scalar:
        return state.method.step_size

    def for_unrolling(self) -> Self:
        return eqx.tree_at(lambda s: s.method, self, self.method.for_unrolling())


class ProxGradState(NamedTuple):
    """State of `ProximalGradient` and `ProjectedGradient`.

    Attributes:
        iter_num: number of steps taken.
        stepsize: last step size.
        error: norm of the prox-gradient residual over the step size.
        aux: what `fun` returned beside its value at the iterate; None without `has_aux`.
        inner: state of the method that runs.
    """

    iter_num: IntScalar
    stepsize: Scalar
    error: Scalar
    aux: Any
    inner: ScheduledState


@dataclass(eq=False)
class ProximalGradient(IterativeSolver):
    """jaxopt's `ProximalGradient`: minimize `fun(params, *args, **kwargs) + g(params, hyperparams_prox)`.

    Run by `jt.ProximalGradient`: momentum restarts, and the search of the step size starts at the measured curvature.
    `hyperparams_prox` and all further arguments are pytrees, in which `run` is differentiable, forward and reverse.

    Args:
        fun: smooth function.
        prox: `prox(x, hyperparams_prox, scaling)`, the prox of a convex g.
        value_and_grad: whether `fun` returns the value and the gradient.
        has_aux: whether `fun` returns `(value, aux)`; `state.aux` belongs to the parameters that are returned.
        stepsize: a number, or a function of the number of steps taken; zero or less searches for it.
        maxiter: bound on the number of steps.
        maxls: not used; the search measures the curvature and ends by itself.
        tol: tolerance on `state.error`, absolute.
        acceleration: momentum (FISTA).
        decrease_factor: factor on a step size that failed the search.
        verbose: print the error every few steps.
        implicit_diff: implicit derivatives; False differentiates the steps, at the cost of `maxiter` of them.
        implicit_diff_solve: a lineax solver; None takes the symmetrized conjugate gradient of `Implicit`.
        jit: compile `run` and `update` once for this object; False compiles the loop anew at each run.
        unroll: not used.

    Raises:
        TypeError: if `fun` or `prox` is no function, or `implicit_diff_solve` not a lineax solver.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop import jaxopt
        >>> data = (jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> solver = jaxopt.ProximalGradient(jaxopt.objective.least_squares, jaxopt.prox.prox_lasso)
        >>> print(solver.run(jnp.zeros(2), 0.5, data).params.round(3))
        [2. 0.]
    """

    fun: Callable
    prox: Callable = prox_none
    value_and_grad: bool = False
    has_aux: bool = False
    stepsize: Any = 0.0
    maxiter: int = 500
    maxls: int = 15
    tol: Any = 1e-3
    acceleration: bool = True
    decrease_factor: Any = 0.5
    verbose: Any = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    def __post_init__(self) -> None:
        require_callable(self.fun, "fun", "fun(params, *args)")
        require_callable(self.prox, "prox", "prox(x, hyperparams, scaling), such as prox.prox_lasso")
        self._check()

    def init_state(self, init_params: Params, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> ProxGradState:
        """State before the first step; without the arguments of `fun` the search of the step size starts at one."""
        return self._init_call(init_params, Call(hyperparams_prox, args, kwargs))

    def update(
        self, params: Params, state: ProxGradState, hyperparams_prox: Any = None, *args: Any, **kwargs: Any
    ) -> OptStep:
        """One step."""
        return self._update_call(params, state, Call(hyperparams_prox, args, kwargs))

    def run(self, init_params: Params, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """Steps until `state.error` is at most `tol`, or `maxiter`."""
        return self._run_call(init_params, Call(hyperparams_prox, args, kwargs))

    def optimality_fun(self, sol: Params, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> Params:
        """The residual `prox(sol - grad fun(sol), hyperparams_prox, 1) - sol`, zero at a solution."""
        return self._residual(sol, Call(hyperparams_prox, args, kwargs))

    def _problem(self, call: Call) -> Composite:
        return Composite(self._smooth(call), ProxPenalty(self.prox, call.hyperparams))

    def _method(self) -> ScheduledProximalGradient:
        return self._method_from(None)

    def _method_from(self, first: float | None) -> ScheduledProximalGradient:
        schedule = self.stepsize if callable(self.stepsize) else None
        search = schedule is None and not is_positive(self.stepsize)
        if schedule is not None:
            step_size: Any = 1.0
        elif search:
            # A gradient that is given need not be differentiable, as the measured curvature asks for.
            step_size = 1.0 if self.value_and_grad else first
        else:
            step_size = self.stepsize
        require_positive(self.decrease_factor, "decrease_factor")
        method = solvers.ProximalGradient(
            step_size,
            self.acceleration,
            line_search=search,
            shrink=self.decrease_factor,
            growth=1 / self.decrease_factor if self.value_and_grad else 1.1,
            tol=self.tol,
            max_steps=self.maxiter,
        )
        return ScheduledProximalGradient(
            method=method, tol=_tree.setting(self.tol), schedule=schedule, max_steps=self.maxiter
        )

    def _start(self, problem: AbstractProblem, params: Params, call: Call) -> ScheduledState:
        try:
            inspect.signature(getattr(self.fun, "subfun", self.fun)).bind(params, *call.args, **call.kwargs)
        except (TypeError, ValueError):
            return self._method_from(1.0).init(problem, params)
        return self._method().init(problem, params)

    def _shown(self, iter_num: Any, error: Scalar, aux: Any, inner: ScheduledState) -> ProxGradState:
        return ProxGradState(iter_num, inner.method.step_size, error, aux, inner)
