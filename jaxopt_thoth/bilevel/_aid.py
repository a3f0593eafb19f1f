from typing import Any

import equinox as eqx
import optax
from jax import lax
from jaxtyping import ArrayLike

from .._types import Params, Scalar
from ..solvers import AbstractSolver, ProximalGradient
from ..solvers._settings import count_setting, tolerance_setting
from ._base import AbstractBilevelSolver, outer_error, outer_step, require_inner_solver, require_optimizer
from ._bilevel import Bilevel, BilevelPoint
from ._hypergradient import Hypergradient, hypergradient


class AIDState(eqx.Module):
    """State of `AID`.

    Attributes:
        found: hypergradient at the current point.
        optimizer: state of the outer optimizer.
    """

    found: Hypergradient
    optimizer: Any


class AID(AbstractBilevelSolver):
    """Approximate implicit differentiation: a few inner steps, a few conjugate gradient steps, one outer step.

    Inner variable and adjoint start where the last outer step left them. At a fixed outer variable the error of the
    hypergradient falls linearly in `inner_steps` and `adjoint_steps`. Composite inner problems are fine.

    Ji, Yang and Liang, "Bilevel optimization: convergence analysis and enhanced design", 2021; Grazzi et al., "On the
    iteration complexity of hypergradient computation", 2020.

    Args:
        optimizer: optax transformation of the hypergradient, for example `optax.adam(0.1)`.
        inner_solver: method of the inner steps; `ProximalGradient()` by default.
        inner_steps: inner steps for each outer step.
        adjoint_steps: conjugate gradient steps for each outer step, at most.
        tol: tolerance on the norm of the (projected) hypergradient; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of outer steps.

    Raises:
        TypeError: if `optimizer` or `inner_solver` is of another kind.
        ValueError: if a count or the tolerance is out of range.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solution = jt.solve(problem, jt.bilevel.AID(optax.sgd(0.5)), (1.0, jnp.zeros(1)))
        >>> print(bool(abs(solution.params.hyper) < 1e-3), bool(solution.result == jt.RESULTS.converged))
        True True
    """

    optimizer: optax.GradientTransformation
    inner_solver: AbstractSolver
    tol: Scalar | None
    inner_steps: int = eqx.field(static=True)
    adjoint_steps: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        inner_solver: AbstractSolver | None = None,
        *,
        inner_steps: int = 10,
        adjoint_steps: int = 10,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        self.optimizer = require_optimizer(optimizer)
        self.inner_solver = require_inner_solver(ProximalGradient() if inner_solver is None else inner_solver)
        self.inner_steps = count_setting(inner_steps, "inner_steps", 1)
        self.adjoint_steps = count_setting(adjoint_steps, "adjoint_steps", 1)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Bilevel, params: BilevelPoint) -> AIDState:
        return AIDState(self._evaluate(problem, params, None)[1], self.optimizer.init(params.hyper))

    def step(self, problem: Bilevel, params: BilevelPoint, state: AIDState) -> tuple[BilevelPoint, AIDState]:
        hyper, optimizer = outer_step(problem, self.optimizer, params.hyper, state.found.gradient, state.optimizer)
        new, found = self._evaluate(problem, BilevelPoint(hyper, params.params), state.found.adjoint)
        return new, AIDState(found, optimizer)

    def error(self, problem: Bilevel, params: BilevelPoint, state: AIDState) -> Scalar:
        return outer_error(problem, params.hyper, state.found.gradient)

    def _evaluate(
        self, problem: Bilevel, point: BilevelPoint, adjoint: Params | None
    ) -> tuple[BilevelPoint, Hypergradient]:
        inner = problem.inner_problem(point.hyper)
        start = (point.params, self.inner_solver.init(inner, point.params))
        params, _ = lax.fori_loop(0, self.inner_steps, lambda _, carry: self.inner_solver.step(inner, *carry), start)
        found = hypergradient(problem, point.hyper, params, adjoint=adjoint, max_steps=self.adjoint_steps)
        return BilevelPoint(point.hyper, params), found
