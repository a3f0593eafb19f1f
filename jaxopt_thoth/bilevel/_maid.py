from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import Params, Scalar
from .._validate import concrete, require_positive
from ..solvers._inverse_curvature import inverse_curvature_along
from ..solvers._settings import count_setting, tolerance_setting
from ._base import AbstractBilevelSolver
from ._bilevel import Bilevel, BilevelPoint
from ._error_bound import AbstractErrorBound, ErrorBound
from ._maid_oracle import CertifiedOracle
from ._maid_search import search_certain_descent
from ._maid_state import MAIDState


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
        self._oracle().constants(params.hyper)

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
        oracle, share = self._oracle(), (self.armijo * self.eta).astype(dtype)
        # Tighter is without meaning: the inner variable itself is rounded by about this much.
        floor = 64 * float(jnp.finfo(dtype).eps)

        def one_round(carry):
            point, state, rounds, _ = carry
            # Before the first step nothing is known of the point, and nothing is wrong with the accuracies either.
            fresh = rounds < 0
            descends = state.bound <= (1 - eta) * state.measure
            trial = search_certain_descent(
                oracle,
                problem,
                point,
                state,
                wanted=descends & ~fresh,
                max_trials=_TRIALS + rounds,
                backtrack=self.backtrack.astype(dtype),
                share=share,
            )
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
            refined_point, refined = oracle.refine(problem, point, new, accepted | fresh)
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

    def _oracle(self) -> CertifiedOracle:
        return CertifiedOracle(
            bound=self.bound,
            strong_convexity=self.strong_convexity,
            outer_lipschitz=self.outer_lipschitz,
            inner_lipschitz=self.inner_lipschitz,
            value=self.value,
            convex=self.convex,
            max_inner_steps=self.max_inner_steps,
        )


def _require_beyond_one(value: ArrayLike, name: str, *, below: bool) -> None:
    known = concrete(value)
    if known is not None and not (known < 1 if below else known >= 1).all():
        raise ValueError(f"{name} must be {'below' if below else 'at least'} 1, got {known}.")
