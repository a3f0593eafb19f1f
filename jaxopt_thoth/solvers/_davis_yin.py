from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_positive
from ..penalties import AbstractPenalty
from ..problems import AbstractProblem, Composite, SaddlePoint
from ..problems._saddle_point import relative_residuals
from ._as_saddle_point import of_kind, with_zero
from ._base import AbstractSolver
from ._settings import count_setting, tolerance_setting


# A free step size is looked at after this many steps, and then each time that their number has doubled.
_FIRST_LOOK = 8


class SplittingState(eqx.Module):
    """State of `DavisYin` and `DouglasRachford`.

    Attributes:
        point: the variable that the method moves; its prox under g is the iterate.
        curvature: Lipschitz constant of the gradient of f; 0 without f.
        step_size: the step of both proxes.
        num_steps: steps so far.
        next_look: number of steps after which a free step size may change.
        term: the prox of f, factored; None unless the problem is a composite one that needs it.
        error: relative KKT residual.
    """

    point: Params
    curvature: Scalar
    step_size: Scalar
    num_steps: IntScalar
    next_look: IntScalar
    term: AbstractPenalty | None
    error: Scalar


class DavisYin(AbstractSolver):
    """Three-operator splitting for `f(x) + g(x) + h(x)`, f smooth: a gradient of f and a prox each of g and h a step.

    The problem is a `SaddlePoint` without operator, `SaddlePoint(f, g, h)`. From z one step takes `x = prox_{t g}(z)`,
    `v = prox_{t h}(2x - z - t grad f(x))` and `z + relaxation (v - x)`; with f = 0 it is `DouglasRachford`, with h = 0
    the proximal gradient method, which is what a `Composite` problem gets. `u = (2x - z - t grad f(x) - v) / t` is the
    dual variable, a subgradient of h at v. It converges for `t < 2/L` and `relaxation < 2 - t L/2`.

    The error is the relative KKT residual of the pair `(x, u)`: `|x - v| / t` relative to `max(1, |grad f(x)|, |u|)`,
    or `|x - v|` relative to `max(1, |x|)` where that is larger. x is in the set of g, and in that of h in the limit;
    where the two do not meet, the result is `max_steps_reached`.

    Args:
        step_size: the step t; None takes 1 / L.
        relaxation: stretches the move of z.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range; at a solve, if there is no f or an operator, or no step size and no
            Lipschitz constant.

    D. Davis and W. Yin, "A three-operator splitting scheme and its optimization applications", 2017.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> near = jt.Quadratic(jnp.eye(3), jnp.array([-3.0, -1.0, 2.0]))
        >>> problem = jt.SaddlePoint(near, jt.penalties.Box(0.0, 1.5), jt.penalties.L1(0.5))
        >>> x, _ = jt.solve(problem, jt.DavisYin(), jnp.zeros(3)).params
        >>> print(x.round(2))
        [1.5 0.5 0. ]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = AbstractProblem

    step_size: Scalar | None
    relaxation: Scalar
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: ArrayLike | None = None,
        *,
        relaxation: ArrayLike = 1.0,
        tol: ArrayLike | None = None,
        max_steps: int = 50_000,
    ):
        if step_size is not None:
            require_positive(step_size, "step_size")
        require_positive(relaxation, "relaxation")
        require_positive(2 - _tree.setting(relaxation), "2 - relaxation")
        self.step_size = None if step_size is None else _tree.setting(step_size)
        self.relaxation = _tree.setting(relaxation)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Any, params: Params) -> None:
        require_no_operator(problem, "DavisYin")
        if problem.smooth is None:
            raise ValueError("DavisYin needs a smooth term, and problem.smooth is None; use DouglasRachford().")
        if self.step_size is None and problem.smooth.lipschitz() is None:
            raise ValueError(
                f"{type(problem.smooth).__name__} has no known Lipschitz constant; pass step_size=, below 2 / L, or "
                "FunctionTerm(..., lipschitz_constant=)."
            )

    def init(self, problem: Any, params: Params) -> SplittingState:
        problem, (x, u) = with_zero(problem), _pair(problem, params)
        lipschitz = problem.smooth.lipschitz()
        # The norm may be estimated from below.
        curvature = 1 / self.step_size if lipschitz is None else 1.01 * lipschitz  # type: ignore[operator]
        step_size = 1 / jnp.where(curvature > 0, curvature, 1) if self.step_size is None else self.step_size
        return start(problem, x, u, step_size, curvature)

    def step(self, problem: Any, params: Params, state: SplittingState) -> tuple[Params, SplittingState]:
        new, new_state = split(with_zero(problem), state, self.relaxation)
        return of_kind(problem, new), new_state

    def error(self, problem: Any, params: Params, state: SplittingState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Any, params: Params, state: SplittingState) -> Scalar:
        if isinstance(problem, Composite):
            return 1 / jnp.where(state.curvature > 0, state.curvature, 1)
        return 1 / (1 + state.curvature)


def _pair(problem: Any, params: Params) -> Params:
    """The pair to start from: nothing is pulled by a third term that is zero."""
    return params if isinstance(problem, SaddlePoint) else (params, _tree.zeros_like(params))


def start(
    problem: SaddlePoint,
    x: Params,
    u: Params,
    step_size: ArrayLike,
    curvature: ArrayLike,
    term: AbstractPenalty | None = None,
) -> SplittingState:
    """State whose first step leaves a saddle point `(x, u)` where it is."""
    dtype = _tree.dtype_of(x)
    step_size = jnp.asarray(step_size).astype(dtype)
    # At a saddle point z - x = t (an element of the subdifferential of g) = -t (grad f + u).
    slope = _tree.add(problem.smooth_gradient(x), u)
    return SplittingState(
        point=_tree.add_scaled(x, -step_size, slope),
        curvature=jnp.asarray(curvature).astype(dtype),
        step_size=step_size,
        num_steps=jnp.asarray(0, jnp.int32),
        next_look=jnp.asarray(_FIRST_LOOK, jnp.int32),
        term=term,
        error=jnp.asarray(jnp.inf, dtype),
    )


def split(
    problem: SaddlePoint, state: SplittingState, relaxation: Scalar, adaptive: bool = False
) -> tuple[Params, SplittingState]:
    """One step, which makes the step size follow the ratio of `|x|` to `|u|` where it is `adaptive`."""
    step_size, point = state.step_size, state.point
    x = problem.penalty.prox(point, step_size)
    gradient = problem.smooth_gradient(x)
    behind = _tree.sub(_tree.scale(2, x), _tree.add_scaled(point, step_size, gradient))
    v = problem.composed.prox(behind, step_size)
    u = _tree.scale(1 / step_size, _tree.sub(behind, v))
    apart = _tree.sub(v, x)
    distance = _tree.norm(apart)
    error = jnp.maximum(*relative_residuals(distance / step_size, distance, (gradient, u), (x,)))
    moved = _tree.add_scaled(point, relaxation, apart)
    num_steps = state.num_steps + 1
    look = num_steps >= state.next_look
    new_step_size = step_size
    if adaptive:
        size, dual_size = _tree.norm(x), _tree.norm(u)
        told = look & (size > 0) & (dual_size > 0)
        ratio = size / jnp.where(told, dual_size * step_size, 1)
        factor = jnp.clip(jnp.where(told, ratio, 1), 0.1, 10)
        new_step_size = step_size * factor
        # The same x with the same subgradient of g, for the new step.
        ahead = problem.penalty.prox(moved, step_size)
        turned = _tree.add_scaled(ahead, factor, _tree.sub(moved, ahead))
        moved = _tree.where(told, turned, moved)
    return (x, u), SplittingState(
        point=moved,
        curvature=state.curvature,
        step_size=new_step_size,
        num_steps=num_steps,
        next_look=jnp.where(look, 2 * state.next_look, state.next_look),
        term=state.term,
        error=error,
    )


def require_no_operator(problem: Any, name: str) -> None:
    """Raise where the problem is of another kind, or its operator not the identity."""
    if not isinstance(problem, Composite | SaddlePoint):
        raise TypeError(f"{name} solves a SaddlePoint or a Composite, got a {type(problem).__name__}.")
    if isinstance(problem, SaddlePoint) and problem.operator is not None:
        raise ValueError(f"{name} solves saddle points without an operator; use ChambollePock() or ADMM().")
