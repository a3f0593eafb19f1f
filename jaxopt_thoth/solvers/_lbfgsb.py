from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import IntScalar, Params, Scalar
from ..penalties import Box, NonNegative, Zero
from ..problems import Composite
from ._base import AbstractSolver
from ._relative_error import relative_error
from ._secants import apply_inverse, blank_pairs, Pairs, push_pair
from ._settings import count_setting, refuse_unrolling, tolerance_setting


# Fraction of the predicted decrease that a step has to reach.
_DECREASE = 1e-4
_MAX_TRIALS = 40
# Width of the band by a bound within which an entry that is pushed outwards counts as active.
_BAND = 1e-3


class LBFGSBState(eqx.Module):
    """State of `LBFGSB`.

    Attributes:
        value: objective at the current iterate.
        gradient: gradient of f there.
        pairs: the last differences of iterates and of gradients.
        step_size: inverse curvature along the last difference.
        num_evaluations: evaluations of value and gradient so far, that of the start included.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the projected gradient.
    """

    value: Scalar
    gradient: Params
    pairs: Pairs
    step_size: Scalar
    num_evaluations: IntScalar
    gradient_norm: Scalar
    error: Scalar


class _Trial(eqx.Module):
    """A point on the projection arc."""

    length: Scalar
    params: Params
    value: Scalar
    gradient: Params
    demand: Scalar
    count: IntScalar


class LBFGSB(AbstractSolver):
    """Limited-memory BFGS under bounds, for a `Composite` whose penalty is `Zero`, `NonNegative` or `Box`.

    The two-metric projection method of Bertsekas (1982) with the limited-memory metric of Schmidt, Kim and Sra (2012):
    entries that sit by a bound and are pushed outwards take a gradient step, the free ones the quasi-Newton step of the
    secant pairs restricted to them, and the sum is searched along its projection arc by Armijo's rule. Once the
    active bounds are found it is L-BFGS on the free entries. Without bounds it is L-BFGS. It is not the generalized
    Cauchy point method of Byrd, Lu, Nocedal and Zhu (1995) that SciPy wraps, which solves the same problems.

    The error is the norm of the projected gradient `|w - P(w - gradient)|`, relative to `max(1, g)`, g the least norm
    of the gradient so far.

    Args:
        history: number of secant pairs that are kept.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range, or when its steps are to be unrolled.
        TypeError: when it meets a penalty of another kind.

    D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", 1982.
    M. Schmidt, D. Kim and S. Sra, "Projected Newton-type methods in machine learning", 2012.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> rosenbrock = lambda w: 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2
        >>> problem = jt.Composite(rosenbrock, jt.penalties.Box(-1.0, 0.5))
        >>> print(jt.solve(problem, jt.solvers.LBFGSB(), jnp.zeros(2)).params.round(3))
        [0.5  0.25]
    """

    tol: Scalar | None
    history: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(self, history: int = 10, *, tol: ArrayLike | None = None, max_steps: int = 1000):
        self.history = count_setting(history, "history", 1)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Composite, params: Params) -> LBFGSBState:
        _require_bounds(problem)
        dtype = _tree.dtype_of(params)
        params = problem.penalty.prox(params, 1.0)
        value, gradient = problem.smooth.value_and_grad(params)
        return LBFGSBState(
            value=value.astype(dtype),
            gradient=gradient,
            pairs=blank_pairs(params, self.history),
            step_size=1 / jnp.maximum(1, _tree.norm(gradient)).astype(dtype),
            num_evaluations=jnp.asarray(1, jnp.int32),
            gradient_norm=jnp.asarray(jnp.inf, dtype),
            error=jnp.asarray(jnp.inf, dtype),
        )

    def step(self, problem: Composite, params: Params, state: LBFGSBState) -> tuple[Params, LBFGSBState]:
        params = problem.penalty.prox(params, 1.0)
        gradient = state.gradient
        residual = _tree.sub(params, problem.penalty.prox(_tree.sub(params, gradient), 1.0))
        band = jnp.minimum(_BAND, _tree.norm(residual))
        free = _free(problem, params, gradient, band)
        direction = _tree.scale(-1, apply_inverse(state.pairs, gradient, free, state.step_size))
        # Bertsekas: the free entries owe the decrease of their step, the active ones that of their projected move.
        free_slope = _tree.vdot(_masked(free, gradient), direction)
        active_gradient = jax.tree.map(lambda f, g: jnp.where(f, 0, g), free, gradient)
        slack = 8 * jnp.finfo(state.value.dtype).eps * jnp.abs(state.value)

        def attempt(length: Scalar, count: IntScalar) -> _Trial:
            new = problem.penalty.prox(_tree.add_scaled(params, length, direction), 1.0)
            value, new_gradient = problem.smooth.value_and_grad(new)
            demand = length * free_slope + _tree.vdot(active_gradient, _tree.sub(new, params))
            return _Trial(length, new, value.astype(state.value.dtype), new_gradient, demand, count)

        def passes(trial: _Trial) -> Any:
            return jnp.isfinite(trial.value) & (trial.value <= state.value + _DECREASE * trial.demand + slack)

        def shorten(trial: _Trial) -> _Trial:
            # The minimizer of the parabola through both values and the slope, kept within safe factors.
            excess = trial.value - state.value - trial.demand
            ratio = -trial.demand / (2 * jnp.where(excess > 0, excess, 1))
            ratio = jnp.where(jnp.isfinite(trial.value) & (excess > 0), jnp.clip(ratio, 0.1, 0.5), 0.1)
            return attempt(trial.length * ratio, trial.count + 1)

        one = jnp.ones((), state.value.dtype)
        trial = while_loop(
            lambda t: ~passes(t) & (t.count < _MAX_TRIALS), shorten, attempt(one, jnp.asarray(1, jnp.int32))
        )
        moved = passes(trial)
        pairs, curvature, kept = push_pair(
            state.pairs, _tree.sub(trial.params, params), _tree.sub(trial.gradient, gradient), moved
        )
        # A direction that cannot be searched is a metric gone bad: start again from the gradient.
        pairs = _tree.where(moved, pairs, blank_pairs(params, self.history))
        new_params = _tree.where(moved, trial.params, params)
        new_gradient = _tree.where(moved, trial.gradient, gradient)
        new_residual = _tree.sub(new_params, problem.penalty.prox(_tree.sub(new_params, new_gradient), 1.0))
        error, gradient_norm = relative_error(new_residual, new_gradient, state.gradient_norm)
        return new_params, LBFGSBState(
            value=jnp.where(moved, trial.value, state.value),
            gradient=new_gradient,
            pairs=pairs,
            step_size=jnp.where(kept, curvature, jnp.where(moved, state.step_size, state.step_size / 10)),
            num_evaluations=state.num_evaluations + trial.count,
            gradient_norm=gradient_norm,
            error=jnp.where(jnp.isfinite(state.value), error, jnp.nan),
        )

    def error(self, problem: Composite, params: Params, state: LBFGSBState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: LBFGSBState) -> Scalar:
        return state.step_size

    def for_unrolling(self) -> Self:
        raise refuse_unrolling("LBFGSB")


def _require_bounds(problem: Composite) -> None:
    if not isinstance(problem.penalty, Zero | NonNegative | Box):
        raise TypeError(
            f"LBFGSB needs the penalty Zero(), NonNegative() or Box(lower, upper), got {type(problem.penalty).__name__}"
            "; for other penalties use ProximalGradient() or ProximalNewton()."
        )


def _free(problem: Composite, params: Params, gradient: Params, band: Scalar) -> Params:
    """Mask of the entries that are not pushed against a bound within `band` of them."""

    # A probe of the projection, so that no bound needs to be known: a free entry moves as far as it is pushed.
    def reach(x: Array) -> Array:
        return jnp.maximum(band.astype(x.dtype), 4 * jnp.finfo(x.dtype).eps * jnp.maximum(1, jnp.abs(x)))

    push = jax.tree.map(lambda x, g: x - reach(x) * jnp.sign(g), params, gradient)
    stopped = problem.penalty.prox(push, 1.0)
    return jax.tree.map(lambda p, s, g: (p == s) & (g != 0) | (g == 0), push, stopped, gradient)


def _masked(mask: Params, x: Params) -> Params:
    return jax.tree.map(lambda m, a: jnp.where(m, a, 0), mask, x)
