from typing import Any, ClassVar, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..problems import Composite
from ._backtracking import is_defined, propose, search, take_point
from ._base import AbstractSolver
from ._inverse_curvature import inverse_curvature_along
from ._settings import check_settings


class ProximalGradientState(eqx.Module):
    """State of `ProximalGradient`.

    Attributes:
        image: image of the current iterate under the linear map of the smooth term.
        direction: momentum; the next gradient is taken at `params + direction`.
        direction_image: image of `direction`.
        step_size: last step size that passed the line search.
        momentum: next t of the accelerated sequence.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
        value: least objective so far (kept by the monotone variant only).
    """

    image: Any
    direction: Params
    direction_image: Any
    step_size: Scalar
    momentum: Scalar
    gradient_norm: Scalar
    error: Scalar
    value: Scalar


class ProximalGradient(AbstractSolver):
    """Proximal gradient descent, accelerated (FISTA) or plain (ISTA), for `Composite` problems.

    Accelerated steps extrapolate with the sequence of Beck and Teboulle (2009), corrected for a step size that may grow
    (Scheinberg, Goldfarb and Bai, 2014), and restart when momentum points uphill (O'Donoghue and Candes, 2015).
    The line search tests the Bregman divergence of f against `|d|^2 / (2 step)`: exact for quadratic losses, and free
    of cancellation where the loss bounds its curvature. Failed trials cost one product with the design matrix each.

    The error is `|y - w| / step`, with w the prox-gradient step from the extrapolated point y, relative to
    `max(1, g)`, g the least norm of the gradient of f so far; w is stationary up to `(1 + step * L)` times that.

    Args:
        step_size: fixed step size; None searches for it, or takes `1 / L` with `line_search=False`.
        accelerated: extrapolate (FISTA) or not (ISTA).
        line_search: backtracking; by default on when no `step_size` is given, which then only starts the search.
        restart: adaptive restart of the momentum.
        strong_convexity: modulus mu of the objective where it is known, for which momentum is at most
            `(1 - sqrt(q)) / (1 + sqrt(q))` with `q = mu step / (1 + mu step)`, which makes the method linear without
            restarts (Chambolle and Pock, 2016, for mu in the penalty); zero leaves the sequence as it is.
        monotone: never let the objective rise beyond rounding (MFISTA, Beck and Teboulle 2009); costs one value a step.
        shrink: factor on a step size that failed; the measured curvature may shrink it further.
        growth: factor on the step size before each step, so that it can follow the local curvature.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.
        unrolled: keep the search out of the derivative, so that reverse mode can pass through a step; costs one more
            trial a step, and is set by the adjoints that need it.

    Raises:
        ValueError: if a setting is out of range, or if `line_search=False` meets neither a `step_size` nor a smooth
            term with a known Lipschitz constant.

    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", 2009.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, 1.0])), jt.penalties.NonNegative())
        >>> print(jt.solve(problem, jt.ProximalGradient(), jnp.zeros(2)).params.round())
        [3. 0.]
    """

    error_shows_nan: ClassVar[bool] = True
    step_size: Scalar | None
    strong_convexity: Scalar | None
    shrink: Scalar
    growth: Scalar
    tol: Scalar | None
    accelerated: bool = eqx.field(static=True)
    line_search: bool = eqx.field(static=True)
    restart: bool = eqx.field(static=True)
    monotone: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    unrolled: bool = eqx.field(static=True)

    def __init__(
        self,
        step_size: ArrayLike | None = None,
        accelerated: bool = True,
        *,
        line_search: bool | None = None,
        restart: bool = True,
        strong_convexity: ArrayLike | None = None,
        monotone: bool = False,
        shrink: ArrayLike = 0.5,
        growth: ArrayLike = 1.1,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
        unrolled: bool = False,
    ):
        default = jnp.result_type(float)
        if step_size is not None:
            require_positive(step_size, "step_size")
        if strong_convexity is not None:
            require_nonnegative(strong_convexity, "strong_convexity")
        check_settings(shrink, growth, tol, max_steps)
        self.step_size = None if step_size is None else jnp.asarray(step_size, default)
        self.strong_convexity = None if strong_convexity is None else jnp.asarray(strong_convexity, default)
        self.shrink = jnp.asarray(shrink, default)
        self.growth = jnp.asarray(growth, default)
        self.tol = None if tol is None else jnp.asarray(tol, default)
        self.accelerated = accelerated
        self.line_search = step_size is None if line_search is None else line_search
        self.restart = restart
        self.monotone = monotone
        self.max_steps = max_steps
        self.unrolled = unrolled

    def init(self, problem: Composite, params: Params) -> ProximalGradientState:
        dtype = _tree.dtype_of(params)
        image = problem.smooth.image(params)
        return ProximalGradientState(
            image=image,
            direction=_tree.zeros_like(params),
            direction_image=_tree.zeros_like(image),
            step_size=self._first_step_size(problem, params, image).astype(dtype),
            momentum=self._next_momentum(jnp.ones((), dtype)),
            gradient_norm=jnp.asarray(jnp.inf, dtype),
            error=jnp.asarray(jnp.inf, dtype),
            value=problem.value(params).astype(dtype) if self.monotone else jnp.zeros((), dtype),
        )

    def step(
        self, problem: Composite, params: Params, state: ProximalGradientState
    ) -> tuple[Params, ProximalGradientState]:
        step_size, momentum = state.step_size, state.momentum
        if self.line_search:
            step_size = step_size * self.growth.astype(step_size.dtype)
        if self.accelerated:
            at = _tree.add(params, state.direction), _tree.add(state.image, state.direction_image)
            point = take_point(problem, *at)
        else:
            point = take_point(problem, params, state.image)
        defined = is_defined(problem, point)
        if self.line_search:
            trial = search(problem, point, step_size, self.shrink, unrolled=self.unrolled)
            new, image, step_size = trial.params, trial.image, trial.step_size
            # Where rounding drowns the test, a step size may not grow on the strength of it.
            tested = trial.bound > trial.noise
            next_step_size = jnp.where(tested, step_size, jnp.minimum(step_size, state.step_size))
            failed = ~defined | trial.exhausted
        else:
            new, image = propose(problem, point, step_size)
            next_step_size, failed = step_size, ~defined
        move, change = _tree.sub(new, params), _tree.sub(new, point.params)
        squared_gradient, ahead, squared_change, zero_or_nan = _tree.inner_products(
            (point.gradient, point.gradient), (change, move), (change, change), (new, _tree.zeros_like(new))
        )
        if self.line_search:
            squared_change, zero_or_nan = trial.squared_change, trial.zero_or_nan
        # The least gradient so far: one that grows along a diverging run must not hide how the residual grows.
        gradient_norm = jnp.minimum(state.gradient_norm, _tree.safe_sqrt(squared_gradient))
        error = _tree.safe_sqrt(squared_change) / step_size / jnp.maximum(1, gradient_norm)
        # A search fails only outside of the domain of f, and its vanishing step must not pass for convergence. Where
        # momentum led out of the domain, the step is taken again without it.
        first = self._next_momentum(jnp.ones_like(momentum))
        overshot = jnp.asarray(False)
        if self.accelerated and not problem.smooth.has_full_domain:
            overshot = failed & (momentum > first)
        error = jnp.where(overshot, jnp.inf, jnp.where(failed | jnp.isnan(zero_or_nan), jnp.nan, error))

        value = state.value
        accepted = ~overshot
        if self.monotone:
            smooth_value, _ = problem.smooth.value_and_grad_at(new, image)
            new_value = smooth_value + problem.penalty.value(new)
            # Within rounding of the best value a step may pass, or a tight tolerance would never be met.
            slack = 8 * jnp.finfo(new_value.dtype).eps * jnp.abs(state.value)
            accepted = accepted & (new_value <= state.value + slack)
            value = jnp.where(accepted, jnp.minimum(new_value, state.value), state.value)
            error = jnp.where(accepted | overshot, error, state.error)
        direction, direction_image = state.direction, state.direction_image
        if self.accelerated:
            stop = overshot | (ahead < 0) | ~accepted if self.restart else overshot
            following = self._next_momentum(momentum)
            factor = jnp.where(accepted, momentum - 1, momentum) / following
            if self.strong_convexity is not None:
                product = self.strong_convexity.astype(step_size.dtype) * step_size
                root = _tree.safe_sqrt(product / (1 + product))
                factor = jnp.minimum(factor, (1 - root) / (1 + root))
            momentum = jnp.where(stop, first, following)
            # A move that is not finite must not pass as zero times itself.
            push = lambda moves: _tree.where(stop, _tree.zeros_like(moves), _tree.scale(factor, moves))
            direction, direction_image = push(move), push(_tree.sub(image, state.image))
        new_state = ProximalGradientState(
            image=_tree.where(accepted, image, state.image),
            direction=direction,
            direction_image=direction_image,
            step_size=jnp.where(overshot, state.step_size, next_step_size),
            momentum=momentum,
            gradient_norm=gradient_norm,
            error=error,
            value=value,
        )
        return _tree.where(accepted, new, params), new_state

    def error(self, problem: Composite, params: Params, state: ProximalGradientState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: ProximalGradientState) -> Scalar:
        return state.step_size

    def relocated(self, problem: Composite, params: Params, state: ProximalGradientState) -> ProximalGradientState:
        # Without momentum, which pointed from elsewhere; what was learnt of the curvature is kept.
        fresh = self.init(problem, params)
        kept = lambda s: (s.step_size, s.gradient_norm, s.error)
        return eqx.tree_at(kept, fresh, kept(state))

    def for_unrolling(self) -> Self:
        return type(self)(
            self.step_size,
            self.accelerated,
            line_search=self.line_search,
            restart=self.restart,
            strong_convexity=self.strong_convexity,
            monotone=self.monotone,
            shrink=self.shrink,
            growth=self.growth,
            tol=self.tol,
            max_steps=self.max_steps,
            unrolled=True,
        )

    def _next_momentum(self, momentum: Scalar) -> Scalar:
        # A larger step needs a smaller t, so that t (t - 1) step never exceeds the last t^2 step.
        ratio = 1 / self.growth.astype(momentum.dtype) if self.line_search else 1
        return (1 + jnp.sqrt(1 + 4 * ratio * momentum**2)) / 2

    def _first_step_size(self, problem: Composite, params: Params, image: Any) -> Scalar:
        if self.step_size is not None:
            return self.step_size
        if self.line_search:
            _, gradient = problem.smooth.value_and_grad_at(params, image)
            return inverse_curvature_along(problem, params, gradient)
        lipschitz = problem.smooth.lipschitz()
        if lipschitz is None:
            raise ValueError(
                f"{type(problem.smooth).__name__} has no known Lipschitz constant; pass step_size=, or search for it."
            )
        # The norm may be estimated from below.
        return 1 / jnp.maximum(1.01 * lipschitz, jnp.finfo(lipschitz.dtype).tiny)
