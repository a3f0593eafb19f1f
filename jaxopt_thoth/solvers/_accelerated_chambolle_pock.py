from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ..penalties import AbstractPenalty
from ..problems import AbstractProblem, Composite
from ..problems._saddle_point import relative_residuals
from ._as_saddle_point import as_saddle_point, first_pair, of_kind, require_split, smooth_prox
from ._base import AbstractSolver
from ._chambolle_pock import curvature_of, require_saddle
from ._inverse_curvature import inverse_curvature
from ._settings import count_setting, tolerance_setting


class AcceleratedChambollePockState(eqx.Module):
    """State of `AcceleratedChambollePock`.

    Attributes:
        point: the pair of iterates.
        image: `K x`.
        ahead: `K x` at the extrapolated point, which the next dual step sees.
        step_size: the primal step, which falls as `1 / (strong_convexity t)`.
        dual_step_size: the dual step.
        operator_norm: largest stretch by K seen so far.
        term: the prox of f, factored; None unless the problem is a composite one that needs it.
        error: relative KKT residual.
    """

    point: Params
    image: Params
    ahead: Params
    step_size: Scalar
    dual_step_size: Scalar
    operator_norm: Scalar
    term: AbstractPenalty | None
    error: Scalar


class AcceleratedChambollePock(AbstractSolver):
    """The accelerated primal-dual method of Chambolle and Pock where g is strongly convex: `|x - x*|^2` falls as 1/t^2.

    One step is `y+ = prox_{sigma h*}(y + sigma K z)`, `x+ = prox_{tau g}(x - tau (grad f(x) + K'y+))` and
    `z+ = x+ + theta (x+ - x)` with `theta = 1 / sqrt(1 + 2 gamma tau)` (with f: `1 / sqrt(1 + gamma tau)`), after which
    tau shrinks and sigma grows by theta. Without f, for every t,
    `|x_t - x*|^2 <= tau_t^2 (|x_0 - x*|^2 / tau_0^2 + |K|^2 |y_0 - y*|^2)`, and `gamma t tau_t` goes to 1.

    The rate is a promise for problems of any conditioning, and the better one far from the solution; near it, where a
    problem with polyhedral or smooth terms has linear convergence to offer, `ChambollePock` with its restarts takes it
    and this method does not. It takes the same problems, with the same error.

    Args:
        strong_convexity: the gamma for which `g - gamma/2 |x|^2` is convex: the strength of `L2Squared` or
            `Regularized`, the l2 of `ElasticNet`. One too large is not noticed, and may not converge.
        weight: ratio of the dual to the primal step at the start, in units of `1 / |K|`; a small one makes for long
            primal steps, which suits the bound where y is small.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range.
        TypeError: at a solve, if the smooth term of a composite problem has no prox and is no loss of scores.

    A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
    2011, algorithm 2; with f: A. Chambolle and T. Pock, "On the ergodic convergence rates of a first-order primal-dual
    algorithm", 2016.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> differences = jnp.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])
        >>> near = jt.penalties.Translated(jt.penalties.L2Squared(1.0), jnp.array([0.0, 0.0, 3.0]))
        >>> problem = jt.SaddlePoint(None, near, jt.penalties.L1(1.0), differences)
        >>> x, y = jt.solve(problem, jt.solvers.AcceleratedChambollePock(1.0, tol=1e-3), jnp.zeros(3)).params
        >>> print(x.round(2))
        [0.5 0.5 2. ]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = AbstractProblem

    strong_convexity: Scalar
    weight: Scalar
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        strong_convexity: ArrayLike,
        weight: ArrayLike = 1.0,
        *,
        tol: ArrayLike | None = None,
        max_steps: int = 100_000,
    ):
        require_positive(strong_convexity, "strong_convexity")
        require_positive(weight, "weight")
        self.strong_convexity = _tree.setting(strong_convexity)
        self.weight = _tree.setting(weight)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Any, params: Params) -> None:
        require_saddle(problem, "AcceleratedChambollePock")
        if isinstance(problem, Composite):
            require_split(problem, params, "AcceleratedChambollePock", scores=True)

    def init(self, problem: Any, params: Params) -> AcceleratedChambollePockState:
        term = smooth_prox(problem, scores=True)
        saddle = as_saddle_point(problem, term)
        point = first_pair(problem, saddle, params)
        x, _ = point
        dtype = _tree.dtype_of(x)
        norm = saddle.operator_norm(x)
        # The norm is estimated from below, and the bound needs `sigma tau |K|^2 <= 1`.
        norm = 1.01 * jnp.where(norm > 0, norm, 1).astype(dtype)
        step_size = 1 / (self.weight.astype(dtype) * norm + curvature_of(saddle, x).astype(dtype))
        image = saddle.image(x)
        return AcceleratedChambollePockState(
            point=point,
            image=image,
            ahead=image,
            step_size=step_size,
            dual_step_size=self.weight.astype(dtype) / norm,
            operator_norm=norm,
            term=term,
            error=jnp.asarray(jnp.inf, dtype),
        )

    def step(
        self, problem: Any, params: Params, state: AcceleratedChambollePockState
    ) -> tuple[Params, AcceleratedChambollePockState]:
        saddle = as_saddle_point(problem, state.term)
        x, y = state.point
        tau, sigma = state.step_size, state.dual_step_size
        new_y = saddle.composed.conjugate_prox(_tree.add_scaled(y, sigma, state.ahead), sigma)
        pull = saddle.transposed_image(x, new_y)
        gradient = saddle.smooth_gradient(x)
        new_x = saddle.penalty.prox(_tree.add_scaled(x, -tau, _tree.add(gradient, pull)), tau)
        image = saddle.image(new_x)
        new_gradient = gradient if saddle.smooth is None else saddle.smooth_gradient(new_x)

        move_x, move_y = _tree.sub(new_x, x), _tree.sub(new_y, y)
        # Norms of elements of the two subdifferentials at the new pair.
        primal = _tree.norm(_tree.add_scaled(_tree.sub(new_gradient, gradient), -1 / tau, move_x))
        dual = _tree.norm(_tree.add_scaled(_tree.sub(state.ahead, image), -1 / sigma, move_y))
        primal, dual = relative_residuals(primal, dual, (new_gradient, pull), (image,))

        factor = 2.0 if saddle.smooth is None else 1.0
        theta = 1 / jnp.sqrt(1 + factor * self.strong_convexity.astype(tau.dtype) * tau)
        stretched = _tree.sub(image, state.image)
        length, size = _tree.norm(move_x), _tree.norm(new_x)
        # Of a move near the rounding unit no stretch can be told.
        resolved = length > jnp.sqrt(jnp.finfo(tau.dtype).eps) * size
        stretch = jnp.where(resolved, _tree.norm(stretched) / jnp.where(resolved, length, 1), 0)
        norm = jnp.maximum(state.operator_norm, stretch)
        new = (new_x, new_y)
        return of_kind(problem, new), AcceleratedChambollePockState(
            point=new,
            image=image,
            ahead=_tree.add_scaled(image, theta, stretched),
            step_size=theta * tau,
            dual_step_size=sigma / theta * (state.operator_norm / norm) ** 2,
            operator_norm=norm,
            term=state.term,
            error=jnp.maximum(primal, dual),
        )

    def error(self, problem: Any, params: Params, state: AcceleratedChambollePockState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Any, params: Params, state: AcceleratedChambollePockState) -> Scalar:
        if isinstance(problem, Composite):
            return inverse_curvature(problem, params)
        return 1 / (state.operator_norm + curvature_of(problem, params[0]))
