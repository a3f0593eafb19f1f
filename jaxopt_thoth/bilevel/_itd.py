from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import run_loop
from .._types import Params, Scalar
from ..solvers import AbstractSolver, ProximalGradient
from ..solvers._settings import count_setting, tolerance_setting
from ._base import AbstractBilevelSolver, outer_error, outer_step, require_inner_solver, require_optimizer
from ._bilevel import Bilevel, BilevelPoint


class ITDState(eqx.Module):
    """State of `ITD`.

    Attributes:
        value: outer objective after the inner steps.
        gradient: its derivative through them.
        optimizer: state of the outer optimizer.
    """

    value: Scalar
    gradient: Params
    optimizer: Any


class ITD(AbstractBilevelSolver):
    """Iterative differentiation: the outer objective after a few inner steps is differentiated through these steps.

    Each outer step starts them where the last one ended, and takes that start as a constant (truncation). With rho the
    rate of the inner method the hypergradient is off by the order of `k rho^k` for k inner steps. Composite inner
    problems are fine. A line search that starts at the solution is decided by rounding, and so then is the derivative
    through it: for tolerances below about 1e-5 give the inner solver a step size.

    Maclaurin, Duvenaud and Adams, "Gradient-based hyperparameter optimization through reversible learning", 2015;
    Franceschi et al., "Forward and reverse gradient-based hyperparameter optimization", 2017.

    Args:
        optimizer: optax transformation of the hypergradient, for example `optax.adam(0.1)`.
        inner_solver: method of the inner steps; `ProximalGradient()` by default.
        inner_steps: inner steps for each outer step.
        differentiation: "reverse", whose memory grows with the square root of the steps, or "forward", whose time grows
            with the number of outer variables.
        tol: tolerance on the norm of the (projected) hypergradient; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of outer steps.

    Raises:
        TypeError: if `optimizer` or `inner_solver` is of another kind.
        ValueError: if a setting is out of range, or the inner solver cannot be unrolled.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solution = jt.solve(problem, jt.bilevel.ITD(optax.sgd(0.5)), (1.0, jnp.zeros(1)))
        >>> print(bool(abs(solution.params.hyper) < 1e-3))
        True
    """

    optimizer: optax.GradientTransformation
    inner_solver: AbstractSolver
    tol: Scalar | None
    inner_steps: int = eqx.field(static=True)
    differentiation: Literal["reverse", "forward"] = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        inner_solver: AbstractSolver | None = None,
        *,
        inner_steps: int = 20,
        differentiation: Literal["reverse", "forward"] = "reverse",
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        if differentiation not in ("reverse", "forward"):
            raise ValueError(f'differentiation must be "reverse" or "forward", got {differentiation!r}.')
        self.optimizer = require_optimizer(optimizer)
        inner_solver = require_inner_solver(ProximalGradient() if inner_solver is None else inner_solver)
        self.inner_solver = inner_solver.for_unrolling()
        self.inner_steps = count_setting(inner_steps, "inner_steps", 1)
        self.differentiation = differentiation
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Bilevel, params: BilevelPoint) -> ITDState:
        _, value, gradient = self._evaluate(problem, params)
        return ITDState(value, gradient, self.optimizer.init(params.hyper))

    def step(self, problem: Bilevel, params: BilevelPoint, state: ITDState) -> tuple[BilevelPoint, ITDState]:
        hyper, optimizer = outer_step(problem, self.optimizer, params.hyper, state.gradient, state.optimizer)
        new, value, gradient = self._evaluate(problem, BilevelPoint(hyper, params.params))
        return new, ITDState(value, gradient, optimizer)

    def error(self, problem: Bilevel, params: BilevelPoint, state: ITDState) -> Scalar:
        return outer_error(problem, params.hyper, state.gradient)

    def _evaluate(self, problem: Bilevel, point: BilevelPoint) -> tuple[BilevelPoint, Scalar, Params]:
        start, solver = _tree.stop_gradient(point.params), self.inner_solver
        never = lambda *_: (jnp.zeros((), _tree.dtype_of(start)), jnp.asarray(False))

        def objective(hyper: Params) -> tuple[Scalar, Params]:
            inner = problem.inner_problem(hyper)
            run, _ = run_loop(
                lambda params, state: solver.step(inner, params, state),
                never,
                start,
                solver.init(inner, start),
                max_steps=self.inner_steps,
                mode="checkpointed" if self.differentiation == "reverse" else "scan",
            )
            return problem.outer_value(run.params, hyper), run.params

        if self.differentiation == "reverse":
            (value, params), gradient = jax.value_and_grad(objective, has_aux=True)(point.hyper)
        else:
            flat, unravel = ravel_pytree(point.hyper)
            along = lambda v: jax.jvp(lambda h: objective(unravel(h)), (flat,), (v,))
            (value, params), (slopes, _) = jax.vmap(along, out_axes=(None, 0))(jnp.eye(flat.size, dtype=flat.dtype))
            gradient = unravel(slopes)
        return BilevelPoint(point.hyper, params), value, gradient
