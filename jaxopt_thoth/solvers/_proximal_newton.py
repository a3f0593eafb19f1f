from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import run_loop, while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar
from ..problems import Composite
from ..smooth import AbstractSmooth
from ._base import AbstractSolver
from ._relative_error import relative_error
from ._semismooth_newton import SemismoothNewton
from ._settings import count_setting, refuse_unrolling, tolerance_setting


_DECREASE = 1e-4
_MAX_HALVINGS = 40


class ProximalNewtonState(eqx.Module):
    """State of `ProximalNewton`.

    Attributes:
        value: objective at the current iterate.
        step_size: step size of the prox-gradient map, from the inner solver.
        num_inner_steps: steps of the inner solver so far.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
    """

    value: Scalar
    step_size: Scalar
    num_inner_steps: IntScalar
    gradient_norm: Scalar
    error: Scalar


class ProximalNewton(AbstractSolver):
    """Proximal Newton method for a `Composite` of convex terms: few steps, each the minimum of a quadratic model.

    A step minimizes `<g, d> + <d, H d> / 2 + penalty(w + d)`, g and H the gradient and Hessian of f, by an inner solver
    until the prox-gradient residual of the model is below `min(0.1, error)` of that of the objective, which makes the
    steps converge superlinearly; the step is halved until the objective falls by a fraction of what the model with the
    penalty predicts (Lee, Sun and Saunders, 2014). The products with H are those of one linearization, so that the
    method suits terms whose gradient is expensive.

    The error is `|w - T(w)| / s` with T the prox-gradient map of step s, relative to `max(1, g)`, g the least norm of
    the gradient of f so far.

    Args:
        solver: solver of the models; `SemismoothNewton()` by default, `ProximalGradient()` for first-order steps.
        max_inner_steps: bound on the inner steps of one step.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `solver` is no solver of composite problems.
        ValueError: if a setting is out of range, if the penalty is not convex, or when its steps are to be unrolled.

    J. D. Lee, Y. Sun and M. A. Saunders, "Proximal Newton-type methods for minimizing composite functions", 2014.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Logistic(), jnp.eye(2) * 4, jnp.array([1.0, -1.0]))
        >>> solution = jt.solve(jt.Composite(model, jt.penalties.L1(0.5)), jt.solvers.ProximalNewton(), jnp.zeros(2))
        >>> print(solution.params.round(3), int(solution.num_steps) < 8)
        [ 0.275 -0.275] True
    """

    solver: AbstractSolver
    tol: Scalar | None
    max_inner_steps: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        solver: AbstractSolver | None = None,
        *,
        max_inner_steps: int = 1000,
        tol: ArrayLike | None = None,
        max_steps: int = 100,
    ):
        solver = SemismoothNewton() if solver is None else solver
        if not isinstance(solver, AbstractSolver) or solver.problem_kind is not Composite:
            raise TypeError(
                f"solver must be a solver of composite problems, got {type(solver).__name__}; "
                "pass for example ProximalGradient(accelerated=False)."
            )
        self.solver = solver
        self.max_inner_steps = count_setting(max_inner_steps, "max_inner_steps", 1)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Composite, params: Params) -> ProximalNewtonState:
        if not problem.penalty.is_convex:
            raise ValueError(
                f"ProximalNewton needs a convex penalty, got {type(problem.penalty).__name__}; "
                "use ProximalGradient(accelerated=False)."
            )
        dtype = _tree.dtype_of(params)
        inf = jnp.asarray(jnp.inf, dtype)
        return ProximalNewtonState(
            value=problem.value(params).astype(dtype),
            step_size=jnp.ones((), dtype),
            num_inner_steps=jnp.asarray(0, jnp.int32),
            gradient_norm=inf,
            error=inf,
        )

    def step(
        self, problem: Composite, params: Params, state: ProximalNewtonState
    ) -> tuple[Params, ProximalNewtonState]:
        dtype = state.value.dtype
        gradient, hessian = jax.linearize(problem.smooth.gradient, params)
        model = Composite(_Model(params, gradient, hessian, hessian(params)), problem.penalty)
        start = self.solver.init(model, params)
        first_step = self.solver.fixed_point_step(model, params, start).astype(dtype)
        residual = _tree.norm(model.optimality(params, first_step))
        relative = residual / jnp.maximum(1, _tree.norm(gradient))
        goal = jnp.clip(relative, 100 * jnp.finfo(dtype).eps, 0.1) * residual

        def measure(
            new: Params, inner: Any, old: Params, num_steps: IntScalar, last_error: Scalar
        ) -> tuple[Scalar, BoolScalar]:
            size = _tree.norm(model.optimality(new, self.solver.fixed_point_step(model, new, inner)))
            return size, size <= goal

        run, _ = run_loop(
            lambda p, s: self.solver.step(model, p, s), measure, params, start, max_steps=self.max_inner_steps
        )
        step_size = self.solver.fixed_point_step(model, run.params, run.state).astype(dtype)
        change = _tree.sub(run.params, params)
        old_penalty = problem.penalty.value(params)
        predicted = _tree.vdot(gradient, change) + problem.penalty.value(run.params) - old_penalty
        # A start outside of the domain of the penalty has no decrease to predict: any finite value is one.
        predicted = jnp.where(jnp.isfinite(predicted), predicted, 0)
        slack = 8 * jnp.finfo(dtype).eps * jnp.where(jnp.isfinite(state.value), jnp.abs(state.value), 1)

        def attempt(length: Scalar, count: IntScalar) -> tuple[Params, Scalar, Scalar, IntScalar]:
            # The full step is the model's solution itself, with its exact zeros.
            new = _tree.where(length < 1, _tree.add_scaled(params, length, change), run.params)
            return new, problem.value(new).astype(dtype), length, count

        def passes(carry: tuple[Params, Scalar, Scalar, IntScalar]) -> BoolScalar:
            _, value, length, _ = carry
            return jnp.isfinite(value) & (value <= state.value + _DECREASE * length * predicted + slack)

        found = while_loop(
            lambda c: ~passes(c) & (c[3] < _MAX_HALVINGS),
            lambda c: attempt(c[2] / 2, c[3] + 1),
            attempt(jnp.ones((), dtype), jnp.asarray(0, jnp.int32)),
        )
        moved = passes(found)
        new_params = _tree.where(moved, found[0], params)
        new_gradient = problem.smooth.gradient(new_params)
        stepped = problem.penalty.prox(_tree.add_scaled(new_params, -step_size, new_gradient), step_size)
        change = _tree.scale(1 / step_size, _tree.sub(new_params, stepped))
        error, gradient_norm = relative_error(change, new_gradient, state.gradient_norm)
        return new_params, ProximalNewtonState(
            value=jnp.where(moved, found[1], state.value),
            step_size=step_size,
            num_inner_steps=state.num_inner_steps + run.num_steps,
            gradient_norm=gradient_norm,
            error=error,
        )

    def error(self, problem: Composite, params: Params, state: ProximalNewtonState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: ProximalNewtonState) -> Scalar:
        return state.step_size

    def for_unrolling(self) -> Self:
        raise refuse_unrolling("ProximalNewton")


class _Model(AbstractSmooth):
    """The quadratic model `<g, w - c> + <w - c, H (w - c)> / 2` of a smooth term about a center c."""

    center: Params
    gradient_at_center: Params
    hessian: Callable[[Params], Params]
    shift: Params

    def value(self, params: Params) -> Scalar:
        return self.value_and_grad_at(params, self.image(params))[0]

    def image(self, params: Params) -> Params:
        return self.hessian(params)

    def value_and_grad_at(self, params: Params, image: Params) -> tuple[Scalar, Params]:
        change, curved = _tree.sub(params, self.center), _tree.sub(image, self.shift)
        value = _tree.vdot(self.gradient_at_center, change) + _tree.vdot(change, curved) / 2
        return value, _tree.add(self.gradient_at_center, curved)

    def hvp(self, params: Params, vector: Params) -> Params:
        return self.hessian(vector)

    def divergence(
        self, new: Params, new_image: Params, old: Params, old_image: Params, old_value: Scalar, old_gradient: Params
    ) -> tuple[Scalar, Scalar]:
        change, image_change = _tree.sub(new, old), _tree.sub(new_image, old_image)
        lost = 4 * jnp.finfo(old_value.dtype).eps * (_tree.norm(new_image) + _tree.norm(old_image))
        return _tree.vdot(change, image_change) / 2, _tree.norm(change) * lost
