from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import IntScalar, Params, Scalar
from .._validate import require_positive
from ..implicit import conjugate_gradient
from ..implicit._linearization import Linearization
from ..problems import Composite
from ._backtracking import Point, search, take_point
from ._base import AbstractSolver
from ._inverse_curvature import inverse_curvature_along
from ._relative_error import relative_error
from ._settings import count_setting, refuse_unrolling, tolerance_setting


# Halvings of a Newton step before the prox-gradient step, which always passes, is taken instead.
_MAX_HALVINGS = 12
_DECREASE = 1e-4


class SemismoothNewtonState(eqx.Module):
    """State of `SemismoothNewton`.

    Attributes:
        point: where the next Newton system is set up, with its gradient; the iterate is the prox-gradient step from it.
        step_size: step size of the prox-gradient map; never grows.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual at `point`.
    """

    point: Point
    step_size: Scalar
    gradient_norm: Scalar
    error: Scalar


class _Candidate(eqx.Module):
    """A point with its prox-gradient step and the value of the envelope."""

    length: Scalar
    point: Point
    stepped: Params
    envelope: Scalar
    count: IntScalar


class SemismoothNewton(AbstractSolver):
    """Newton's method on the prox-gradient residual of a `Composite`, with superlinear steps and a descent certificate.

    With T(w) = prox_s(w - s grad f(w)), each step solves `(I - P(I - sH)) d = T(w) - w` by conjugate gradient on the
    symmetric system `P(I-P) + sPHP` (P the Jacobian of the prox, H the Hessian of f), more exactly as the residual
    falls. The step is searched between T(w) and w + d for a decrease of the forward-backward envelope (Stella,
    Themelis, Sopasakis and Patrinos, 2017), and a prox-gradient step stands in where no length passes: it converges
    from anywhere for convex f, and superlinearly near a solution where that system is not singular. The iterate that
    is returned is the prox-gradient step from the last point, so that it is as sparse as the solution, and feasible.

    The error is `|w - T(w)| / s`, relative to `max(1, g)`, g the least norm of the gradient of f so far.

    Args:
        step_size: where the search of the step size s starts; by default the inverse curvature along the gradient.
        max_linear_steps: bound on the conjugate gradient steps of one Newton step; by default 20 plus twice the number
            of parameters.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of Newton steps.

    Raises:
        ValueError: if a setting is out of range, if the penalty is not convex, or when its steps are to be unrolled.

    L. Stella, A. Themelis, P. Sopasakis and P. Patrinos, "A simple and efficient algorithm for nonlinear model
    predictive control", 2017.
    X. Li, D. Sun and K.-C. Toh, "A highly efficient semismooth Newton augmented Lagrangian method for solving Lasso
    problems", 2018.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Logistic(), jnp.eye(2) * 4, jnp.array([1.0, -1.0]))
        >>> solution = jt.solve(jt.Composite(model, jt.penalties.L1(0.5)), jt.solvers.SemismoothNewton(), jnp.zeros(2))
        >>> print(solution.params.round(3), int(solution.num_steps) < 8)
        [ 0.275 -0.275] True
    """

    step_size: Scalar | None
    tol: Scalar | None
    max_linear_steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: ArrayLike | None = None,
        *,
        max_linear_steps: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 200,
    ):
        if step_size is not None:
            require_positive(step_size, "step_size")
        self.step_size = None if step_size is None else _tree.setting(step_size)
        self.max_linear_steps = (
            None if max_linear_steps is None else count_setting(max_linear_steps, "max_linear_steps", 1)
        )
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Composite, params: Params) -> SemismoothNewtonState:
        if not problem.penalty.is_convex:
            raise ValueError(
                f"SemismoothNewton needs a convex penalty, got {type(problem.penalty).__name__}; "
                "use ProximalGradient(accelerated=False)."
            )
        dtype = _tree.dtype_of(params)
        point = take_point(problem, params, problem.smooth.image(params))
        if self.step_size is None:
            step_size = inverse_curvature_along(problem, params, point.gradient)
        else:
            step_size = self.step_size
        inf = jnp.asarray(jnp.inf, dtype)
        return SemismoothNewtonState(point, step_size.astype(dtype), inf, inf)

    def step(
        self, problem: Composite, params: Params, state: SemismoothNewtonState
    ) -> tuple[Params, SemismoothNewtonState]:
        point = state.point
        trial = search(problem, point, state.step_size, jnp.asarray(0.5, state.step_size.dtype), unrolled=False)
        step_size, residual = trial.step_size, _tree.sub(trial.params, point.params)
        size = _tree.norm(residual)
        envelope = _envelope(problem, point, trial.params, step_size)
        direction = self._newton(problem, point.params, residual, step_size, size / step_size, state.gradient_norm)
        noise = 8 * jnp.finfo(envelope.dtype).eps * jnp.abs(envelope)
        target = envelope - _DECREASE * size**2 / step_size + noise

        def attempt(length: Scalar, count: IntScalar) -> _Candidate:
            blend = jax.tree.map(
                lambda x, r, d: x + (1 - length).astype(x.dtype) * r + length.astype(x.dtype) * d,
                point.params,
                residual,
                direction,
            )
            # At length zero this is T(w) itself, without the rounding of the sum.
            blend = _tree.where(length > 0, blend, trial.params)
            new = take_point(problem, blend, problem.smooth.image(blend))
            moved = _tree.add_scaled(blend, -step_size, new.gradient)
            stepped = problem.penalty.prox(moved, step_size)
            return _Candidate(length, new, stepped, _envelope(problem, new, stepped, step_size), count)

        def shorten(candidate: _Candidate) -> _Candidate:
            length = jnp.where(candidate.count < _MAX_HALVINGS, candidate.length / 2, 0)
            return attempt(length, candidate.count + 1)

        def failed(candidate: _Candidate) -> jax.Array:
            passed = jnp.isfinite(candidate.envelope) & (candidate.envelope <= target)
            return ~passed & (candidate.length > 0)

        one = jnp.ones((), step_size.dtype)
        found = while_loop(failed, shorten, attempt(one, jnp.asarray(0, jnp.int32)))
        change = _tree.scale(1 / step_size, _tree.sub(found.stepped, found.point.params))
        error, gradient_norm = relative_error(change, found.point.gradient, state.gradient_norm)
        # A search that found no step size certifies nothing.
        error = jnp.where(trial.exhausted & ~jnp.isnan(error), jnp.inf, error)
        return found.stepped, SemismoothNewtonState(found.point, step_size, gradient_norm, error)

    def error(self, problem: Composite, params: Params, state: SemismoothNewtonState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: SemismoothNewtonState) -> Scalar:
        return state.step_size

    def for_unrolling(self) -> Self:
        raise refuse_unrolling("SemismoothNewton")

    def _newton(
        self, problem: Composite, params: Params, residual: Params, step_size: Scalar, slope: Scalar, scale: Scalar
    ) -> Params:
        dtype = step_size.dtype
        relative = slope / jnp.where(jnp.isfinite(scale), jnp.maximum(1, scale), 1)
        # A forcing term that falls with the residual makes the steps converge quadratically.
        rtol = jnp.clip(relative, 100 * jnp.finfo(dtype).eps, 0.1)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        limit = 2 * count + 20 if self.max_linear_steps is None else self.max_linear_steps
        solve = lambda matvec, b: conjugate_gradient(matvec, b, rtol=rtol, max_steps=limit)
        direction = Linearization(problem, params, step_size).solve(residual, solve)
        return _tree.where(_tree.all_finite(direction), direction, residual)


def _envelope(problem: Composite, point: Point, stepped: Params, step_size: Scalar) -> Scalar:
    """Forward-backward envelope of the objective at `point`, given the prox-gradient step from it."""
    change = _tree.sub(stepped, point.params)
    model = point.value + _tree.vdot(point.gradient, change) + _tree.squared_norm(change) / (2 * step_size)
    return model + problem.penalty.value(stepped)
