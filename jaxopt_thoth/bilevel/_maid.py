from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import concrete, require_positive
from ..implicit import warm_linear_solve
from ..solvers._inverse_curvature import inverse_curvature_along
from ..solvers._settings import count_setting, tolerance_setting
from ._base import AbstractBilevelSolver
from ._bilevel import Bilevel, BilevelPoint
from ._error_bound import AbstractErrorBound, ErrorBound
from ._hypergradient import hypergradient
from ._maid_bracket import outer_bracket
from ._maid_inner import InnerSolution, minimize_to_residual
from ._maid_state import MAIDState, Trial


# Trial step sizes before the accuracies are tightened, one more after each time; and how often in one step.
_TRIALS, _ROUNDS = 10, 60
# The estimated Lipschitz constant of the inner gradient may follow the outer variable downwards.
_FORGET = 0.98


class MAID(AbstractBilevelSolver):
    """Adaptively inexact descent: outer steps that certainly descend, from inner solutions as loose as that allows.

    The inner problem is solved to `|w - w*| <= eps` and the adjoint system to a residual of delta, both from where they
    were. Where the bound omega of the hypergradient z exceeds `(1 - eta) |z|`, or no step size is certain to lower the
    outer objective by `armijo * eta * step_size * |z|^2`, eps and delta shrink; after an accepted step both relax. The
    accuracies so tune themselves. One step of `solve` is one accepted step, and its error is `|z| + omega`: a run that
    has converged proves that the norm of the true hypergradient is at most `tol`. A run that rounding keeps from its
    tolerance changes nothing any more and says so in `MAIDState.stalled`.

    To be certain of descent, the outer objective is bracketed by its value at the inner solution, to the first order in
    eps ("interval", as published), or by its value corrected along the adjoint, `f - q . inner gradient`, to the second
    order in eps and delta ("corrected"), which allows for far looser inner solutions, for one adjoint a trial. Then
    it is omega that sets eps, and the form "operator" of `ErrorBound` pays where the problem is small enough for it.

    With a projection of the problem, z stands for the length of the projected step over the step size; the projection
    must be the Euclidean one onto a convex set. The inner objective must be smooth and strongly convex.

    Salehi, Mukherjee, Roberts and Ehrhardt, "An adaptively inexact first-order method for bilevel optimization with
    application to hyperparameter learning", 2024.

    Args:
        bound: an `ErrorBound`, or a function of the outer variable that returns one, for constants that vary with it.
            A `HeuristicErrorBound` will do as well, but then nothing is certified.
        eps: first accuracy of the inner variable.
        delta: first residual of the adjoint system.
        step_size: first outer step size.
        backtrack: factor on a step size that failed.
        expand: factor on a step size that was accepted, for the next step.
        shrink: factor on eps and delta where they are too loose.
        relax: factor on them after an accepted step.
        eta: share of `|z|^2` that the descent along -z is certain to keep, in (0, 1).
        armijo: share of that descent that a step must achieve, in (0, 1).
        value: "corrected" or "interval".
        convex: whether the outer objective is convex in the inner variable, which sharpens the lower bounds.
        strong_convexity: strong convexity of the inner objective; only for, and needed by, a heuristic bound.
        outer_lipschitz: Lipschitz constant of the outer gradient in the inner variable; likewise.
        inner_lipschitz: Lipschitz constant of the inner gradient, or a function of the outer variable that returns it;
            by default it is searched for.
        tol: tolerance on `|z| + omega`; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of outer steps.
        max_inner_steps: bound on the steps of one inner solve.

    Raises:
        TypeError: if `bound` is of another kind, or the inner problem has a penalty.
        ValueError: if a setting is out of range, or a constant is missing or given twice.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0 * h) ** 2) / 2  # w* = 2 h
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2) / 2, inner)
        >>> solver = jt.bilevel.MAID(jt.bilevel.ErrorBound(1.0, 1.0), tol=1e-6)
        >>> solution = jt.solve(problem, solver, (0.0, jnp.zeros(1)))
        >>> print(solution.params.hyper.round(5), bool(solution.state.certified))
        0.5 True
    """

    bound: AbstractErrorBound | Callable[[Params], AbstractErrorBound]
    eps: Scalar
    delta: Scalar
    step_size: Scalar
    backtrack: Scalar
    expand: Scalar
    shrink: Scalar
    relax: Scalar
    eta: Scalar
    armijo: Scalar
    strong_convexity: Scalar | None
    outer_lipschitz: Scalar | None
    inner_lipschitz: Scalar | Callable[[Params], Scalar] | None
    tol: Scalar | None
    value: Literal["corrected", "interval"] = eqx.field(static=True)
    convex: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    max_inner_steps: int = eqx.field(static=True)

    def __init__(
        self,
        bound: AbstractErrorBound | Callable[[Params], AbstractErrorBound],
        *,
        eps: ArrayLike = 0.1,
        delta: ArrayLike = 0.1,
        step_size: ArrayLike = 0.01,
        backtrack: ArrayLike = 0.5,
        expand: ArrayLike = 10 / 9,
        shrink: ArrayLike = 0.5,
        relax: ArrayLike = 1.05,
        eta: ArrayLike = 0.5,
        armijo: ArrayLike = 0.5,
        value: Literal["corrected", "interval"] = "corrected",
        convex: bool = False,
        strong_convexity: ArrayLike | None = None,
        outer_lipschitz: ArrayLike | None = None,
        inner_lipschitz: ArrayLike | Callable[[Params], Scalar] | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
        max_inner_steps: int = 10_000,
    ):
        if not callable(bound):
            raise TypeError(f"bound must be an ErrorBound or a function of hyper, got {type(bound).__name__}.")
        if value not in ("corrected", "interval"):
            raise ValueError(f'value must be "corrected" or "interval", got {value!r}.')
        constants = {"strong_convexity": strong_convexity, "outer_lipschitz": outer_lipschitz}
        known = isinstance(bound, ErrorBound) or not isinstance(bound, AbstractErrorBound)
        for name, constant in constants.items():
            if known and constant is not None:
                raise ValueError(f"{name} is that of the bound; leave it out.")
            if not known and constant is None:
                raise ValueError(f"{name} must be given, since {type(bound).__name__} does not have it.")
        positive = {
            "eps": eps,
            "delta": delta,
            "step_size": step_size,
            "backtrack": backtrack,
            "shrink": shrink,
            "eta": eta,
            "armijo": armijo,
        }
        if inner_lipschitz is not None and not callable(inner_lipschitz):
            positive["inner_lipschitz"] = inner_lipschitz
        for name, setting in (positive | {k: v for k, v in constants.items() if v is not None}).items():
            require_positive(setting, name)
        for name, setting in {"backtrack": backtrack, "shrink": shrink, "eta": eta, "armijo": armijo}.items():
            _require_beyond_one(setting, name, below=True)
        for name, setting in {"expand": expand, "relax": relax}.items():
            _require_beyond_one(setting, name, below=False)
        optional = lambda x: None if x is None else _tree.setting(x)
        self.bound = bound
        self.eps, self.delta, self.step_size = _tree.settings((eps, delta, step_size))
        self.backtrack, self.expand, self.shrink, self.relax = _tree.settings((backtrack, expand, shrink, relax))
        self.eta, self.armijo = _tree.settings((eta, armijo))
        self.value = value
        self.convex = convex
        self.strong_convexity, self.outer_lipschitz = optional(strong_convexity), optional(outer_lipschitz)
        self.inner_lipschitz = inner_lipschitz if callable(inner_lipschitz) else optional(inner_lipschitz)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")
        self.max_inner_steps = count_setting(max_inner_steps, "max_inner_steps", 1)

    def check(self, problem: Bilevel, params: BilevelPoint) -> None:
        problem.require_smooth("MAID")
        self._constants(params.hyper)

    def init(self, problem: Bilevel, params: BilevelPoint) -> MAIDState:
        dtype = _tree.dtype_of(params.params)
        inner = problem.inner_problem(params.hyper)
        value, gradient = inner.smooth.value_and_grad(params.params)
        infinite = jnp.asarray(jnp.inf, dtype)
        return MAIDState(
            eps=self.eps.astype(dtype),
            delta=self.delta.astype(dtype),
            step_size=self.step_size.astype(dtype),
            gradient=_tree.zeros_like(params.hyper),
            adjoint=_tree.zeros_like(params.params),
            measure=infinite,
            bound=infinite,
            lower=-infinite,
            upper=infinite,
            inner_value=value,
            inner_gradient=gradient,
            inner_lipschitz=(1 / inverse_curvature_along(inner, params.params, gradient)).astype(dtype),
            num_inner=jnp.asarray(1, jnp.int32),
            num_products=jnp.asarray(0, jnp.int32),
            certified=jnp.asarray(False),
            stalled=jnp.asarray(False),
        )

    def step(self, problem: Bilevel, params: BilevelPoint, state: MAIDState) -> tuple[BilevelPoint, MAIDState]:
        dtype = state.eps.dtype
        shrink, relax, expand, eta = (s.astype(dtype) for s in (self.shrink, self.relax, self.expand, self.eta))
        # Tighter is without meaning: the inner variable itself is rounded by about this much.
        floor = 64 * float(jnp.finfo(dtype).eps)

        def one_round(carry):
            point, state, rounds, _ = carry
            # Before the first step nothing is known of the point, and nothing is wrong with the accuracies either.
            fresh = rounds < 0
            descends = state.bound <= (1 - eta) * state.measure
            trial = self._search(problem, point, state, descends & ~fresh, rounds)
            accepted = trial.accepted
            factor = jnp.where(accepted, relax, jnp.where(fresh, 1, shrink))
            eps = state.eps * factor
            exhausted = ~accepted & ~(eps > floor * (1 + _tree.norm(point.params)))
            new = MAIDState(
                eps=jnp.where(exhausted, state.eps, eps),
                delta=jnp.where(exhausted, state.delta, state.delta * factor),
                step_size=jnp.where(accepted, expand * trial.step_size, trial.next_size),
                gradient=state.gradient,
                adjoint=_tree.where(accepted, trial.adjoint, state.adjoint),
                measure=state.measure,
                bound=state.bound,
                lower=state.lower,
                upper=state.upper,
                inner_value=jnp.where(accepted, trial.inner_value, state.inner_value),
                inner_gradient=_tree.where(accepted, trial.inner.gradient, state.inner_gradient),
                inner_lipschitz=trial.lipschitz * jnp.where(accepted, _FORGET, 1).astype(dtype),
                num_inner=trial.num_inner,
                num_products=trial.num_products,
                certified=state.certified,
                stalled=exhausted,
            )
            point = _tree.where(accepted, trial.point, point)
            refined_point, refined = self._refine(problem, point, new, accepted | fresh)
            point, new = _tree.where(exhausted, (point, new), (refined_point, refined))
            return point, new, rounds + 1, accepted

        def again(carry):
            _, state, rounds, accepted = carry
            return ~accepted & ~state.stalled & (rounds < _ROUNDS)

        start = (params, state, -jnp.isinf(state.measure).astype(jnp.int32), jnp.asarray(False))
        params, state, _, _ = while_loop(again, one_round, start)
        return params, state

    def error(self, problem: Bilevel, params: BilevelPoint, state: MAIDState) -> Scalar:
        return state.measure + state.bound

    def _constants(self, hyper: Params) -> tuple[AbstractErrorBound, Scalar, Scalar, Scalar]:
        """The bound at an outer variable, and mu, L_g and L_H there."""
        bound: Any = self.bound if isinstance(self.bound, AbstractErrorBound) else self.bound(hyper)
        if isinstance(bound, ErrorBound):
            return bound, bound.strong_convexity, bound.outer_lipschitz, bound.hessian_lipschitz
        if self.strong_convexity is None or self.outer_lipschitz is None:
            raise TypeError(f"bound must return an ErrorBound, got {type(bound).__name__}.")
        return bound, self.strong_convexity, self.outer_lipschitz, jnp.zeros_like(self.outer_lipschitz)

    def _minimize(
        self, problem: Bilevel, point: BilevelPoint, value: Scalar, gradient: Params, eps: Scalar, lipschitz: Scalar
    ) -> InnerSolution:
        _, mu, _, _ = self._constants(point.hyper)
        known = self.inner_lipschitz
        if known is not None:
            lipschitz = jnp.asarray(known(point.hyper) if callable(known) else known).astype(eps.dtype)
        return minimize_to_residual(
            problem.inner_problem(point.hyper).smooth,
            point.params,
            value,
            gradient,
            mu.astype(eps.dtype) * eps,
            mu,
            lipschitz,
            search=known is None,
            max_steps=self.max_inner_steps,
        )

    def _bracket(
        self, problem: Bilevel, point: BilevelPoint, inner_gradient: Params, adjoint: Params, left: Scalar
    ) -> tuple[Scalar, Scalar]:
        _, mu, outer_lipschitz, hessian_lipschitz = self._constants(point.hyper)
        return outer_bracket(
            problem,
            point,
            inner_gradient,
            adjoint if self.value == "corrected" else None,
            left,
            mu,
            outer_lipschitz,
            hessian_lipschitz,
            convex=self.convex,
        )

    def _refine(
        self, problem: Bilevel, point: BilevelPoint, state: MAIDState, moved: BoolScalar
    ) -> tuple[BilevelPoint, MAIDState]:
        """The point, its hypergradient and their certificates, to the accuracies of the state."""
        inner = self._minimize(
            problem, point, state.inner_value, state.inner_gradient, state.eps, state.inner_lipschitz
        )
        point = BilevelPoint(point.hyper, inner.params)
        bound = self._constants(point.hyper)[0]
        found = hypergradient(
            problem, point.hyper, point.params, adjoint=state.adjoint, rtol=0.0, atol=state.delta, bound=bound
        )
        dtype = state.eps.dtype
        measure = _tree.norm(found.gradient).astype(dtype)
        if problem.projection is not None:
            end = problem.project(_tree.add_scaled(point.hyper, -state.step_size, found.gradient))
            measure = _tree.norm(_tree.sub(end, point.hyper)).astype(dtype) / state.step_size
        lower, upper = self._bracket(problem, point, inner.gradient, found.adjoint, found.adjoint_residual)
        omega = jnp.asarray(found.bound).astype(dtype)
        # A move may still mend what rounding, or the bound on the inner steps, has kept from its accuracy.
        reached = inner.converged & found.converged
        return point, MAIDState(
            eps=state.eps,
            delta=state.delta,
            step_size=state.step_size,
            gradient=found.gradient,
            adjoint=found.adjoint,
            measure=measure,
            bound=omega,
            lower=lower,
            upper=upper,
            inner_value=problem.inner_problem(point.hyper).smooth.value(point.params),
            inner_gradient=inner.gradient,
            inner_lipschitz=inner.lipschitz,
            num_inner=state.num_inner + inner.num_gradients,
            num_products=state.num_products + found.num_steps,
            certified=jnp.isfinite(omega) & isinstance(bound, ErrorBound),
            stalled=~reached & ~moved,
        )

    def _search(
        self, problem: Bilevel, point: BilevelPoint, state: MAIDState, wanted: BoolScalar, rounds: IntScalar
    ) -> Trial:
        """Backtrack until the outer objective is certain to fall by enough, or no trial is left."""
        dtype = state.eps.dtype
        backtrack = self.backtrack.astype(dtype)
        share = (self.armijo * self.eta).astype(dtype)

        def attempt(trial: Trial) -> Trial:
            alpha = trial.step_size * jnp.where(trial.count > 0, backtrack, 1)
            hyper = problem.project(_tree.add_scaled(point.hyper, -alpha, state.gradient))
            # A shorter step starts on the way to where the longer one led; the first trial has moved nowhere yet.
            way = _tree.sub(trial.point.params, point.params)
            way = _tree.where(_tree.all_finite(way), way, _tree.zeros_like(way))
            start = BilevelPoint(hyper, _tree.add_scaled(point.params, backtrack, way))
            value, gradient = problem.inner_problem(hyper).smooth.value_and_grad(start.params)
            inner = self._minimize(problem, start, value, gradient, state.eps, trial.lipschitz)
            end = BilevelPoint(hyper, inner.params)
            adjoint, left, products = state.adjoint, jnp.zeros((), dtype), jnp.asarray(0, jnp.int32)
            if self.value == "corrected":
                slope = problem.outer_gradients(end.params, hyper)[1]
                hessian = jax.linearize(lambda w: problem.inner_gradient(w, hyper), end.params)[1]
                solved = warm_linear_solve(hessian, slope, adjoint, rtol=0.0, atol=state.delta)
                adjoint, left, products = solved.value, solved.residual_norm, solved.num_steps
            lower, upper = self._bracket(problem, end, inner.gradient, adjoint, left)
            length = alpha * state.measure
            if problem.projection is not None:
                length = _tree.norm(_tree.sub(hyper, point.hyper)).astype(dtype)
            needed = share * length**2 / alpha
            # A step that is too long for certain is not tried again with better accuracies.
            too_long = lower - state.upper > -needed
            return Trial(
                point=end,
                adjoint=adjoint,
                inner=inner,
                inner_value=problem.inner_problem(hyper).smooth.value(end.params),
                accepted=(upper - state.lower <= -needed) & (length > 0),
                step_size=alpha,
                next_size=jnp.where(too_long, alpha * backtrack, trial.next_size),
                lipschitz=jnp.where(jnp.isfinite(inner.residual), inner.lipschitz, trial.lipschitz),
                count=trial.count + 1,
                num_inner=trial.num_inner + inner.num_gradients + 1,
                num_products=trial.num_products + products,
            )

        def failed(trial: Trial) -> BoolScalar:
            return wanted & ~trial.accepted & (trial.count < _TRIALS + rounds)

        residual = _tree.norm(state.inner_gradient)
        zero, no = jnp.asarray(0, jnp.int32), jnp.asarray(False)
        none = InnerSolution(point.params, state.inner_gradient, residual, state.inner_lipschitz, zero, no)
        start = Trial(
            point=point,
            adjoint=state.adjoint,
            inner=none,
            inner_value=state.inner_value,
            accepted=no,
            step_size=state.step_size,
            next_size=state.step_size,
            lipschitz=state.inner_lipschitz,
            count=zero,
            num_inner=state.num_inner,
            num_products=state.num_products,
        )
        return while_loop(failed, attempt, start)


def _require_beyond_one(value: ArrayLike, name: str, *, below: bool) -> None:
    known = concrete(value)
    if known is not None and not (known < 1 if below else known >= 1).all():
        raise ValueError(f"{name} must be {'below' if below else 'at least'} 1, got {known}.")
