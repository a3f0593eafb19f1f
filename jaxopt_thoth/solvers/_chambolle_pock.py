from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..penalties import AbstractPenalty
from ..problems import AbstractProblem, Composite, SaddlePoint
from ..problems._saddle_point import relative_residuals
from ._as_saddle_point import as_saddle_point, first_pair, of_kind, require_split, smooth_prox
from ._base import AbstractSolver
from ._inverse_curvature import inverse_curvature
from ._settings import count_setting, tolerance_setting


# Adaptive restarts (Applegate et al., 2021): at once on this decrease of the residual, on this one if it has risen
# since, and in any case after this part of all steps.
_SUFFICIENT, _NECESSARY, _ARTIFICIAL = 0.2, 0.8, 0.36


class ChambollePockState(eqx.Module):
    """State of `ChambollePock`.

    Attributes:
        point: the pair that the next step starts from; the iterate is the image of the last one.
        images: `K x` and `K' y` of `point`.
        anchor: the pair that `point` is drawn back to.
        anchor_images: `K x` and `K' y` of `anchor`.
        weight: ratio of the dual to the primal step, in units of the norm of K.
        operator_norm: largest stretch by K seen so far.
        curvature: Lipschitz constant of the gradient of f, or the largest slope of it seen so far.
        residual: length of the last step in the norm of the method.
        anchor_residual: length of the first step from the anchor.
        num_since: steps since the last restart.
        num_steps: steps so far.
        term: the prox of f, factored; None unless the problem is a composite one that needs it.
        error: relative KKT residual.
    """

    point: Params
    images: Params
    anchor: Params
    anchor_images: Params
    weight: Scalar
    operator_norm: Scalar
    curvature: Scalar
    residual: Scalar
    anchor_residual: Scalar
    num_since: IntScalar
    num_steps: IntScalar
    term: AbstractPenalty | None
    error: Scalar


class ChambollePock(AbstractSolver):
    """The primal-dual hybrid gradient method of Chambolle and Pock, relaxed and restarted.

    It solves a `SaddlePoint`, and a `Composite` problem whose smooth term is a `LinearModel`, as `g(x) + h(A x)` with
    the mean loss of the scores for h, or a `Quadratic`, as a sum of two proxes; its solution is x alone then.

    One step is `x+ = prox_{tau g}(x - tau (grad f(x) + K'y))` and `y+ = prox_{sigma h*}(y + sigma K (2 x+ - x))`, where
    f is due to Condat (2013) and Vu (2013); `sigma = weight / |K|` and `tau = 1 / (weight |K| + L)`. It costs one
    product with K and one with K', and no linear system. The norm of K and the constant L of f are estimated, and
    raised by what the steps see of them. Two ways of going on from there:

    - `restart=True`: a reflected Halpern iteration, drawn back to its last restart and restarted where its residual has
      decreased enough (Lu and Yang, 2024); the weight then moves to the ratio of the distances that y and x went. It
      converges linearly on linear and quadratic programs, and is the robust choice.
    - `restart=False`: over-relaxed steps, and a weight that balances the primal and the dual residual (Goldstein, Li,
      Yuan, Esser and Baraniuk, 2013) by ever smaller changes; often twice as fast for images at a moderate accuracy.

    The error is the larger of the norms of two elements of the subdifferentials at the new pair: the primal one in
    `grad f(x) + dg(x) + K'y`, relative to `max(1, |grad f(x)|, |K'y|)`, and the dual one in `dh*(y) - K x`, relative to
    `max(1, |K x|)`. x stays in the set of g and y in that of h*; `K x` is in the set of h only in the limit, so that an
    infeasible problem ends by `max_steps_reached`, with an error that says how far from feasible it is.

    Args:
        weight: ratio of the dual to the primal step at the start, in units of `1 / |K|`.
        relaxation: part of the largest over-relaxation: the step is stretched by `2 relaxation`, with f by
            `1.5 relaxation`. By default 1 with restarts and 0.95 without, where 1 need not converge.
        restart: which of the two ways.
        adaptive: let the weight move.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range.
        TypeError: at a solve, if the smooth term of a composite problem has no prox and is no loss of scores.

    A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
    2011. H. Lu and J. Yang, "Restarted Halpern PDHG for linear programming", 2024.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> cost, least = jnp.array([1.0, 2.0]), jnp.array([1.0])  # the least cost of two amounts with sum at least 1
        >>> amounts = jt.penalties.Tilted(jt.penalties.NonNegative(), cost)
        >>> enough = jt.penalties.Translated(jt.penalties.NonNegative(), least)
        >>> program = jt.SaddlePoint(None, amounts, enough, jnp.ones((1, 2)))
        >>> x, price = jt.solve(program, jt.ChambollePock(), jnp.zeros(2)).params
        >>> print(x.round(2) + 0.0, -price.round(2))
        [1. 0.] [1.]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = AbstractProblem

    weight: Scalar
    relaxation: Scalar
    tol: Scalar | None
    restart: bool = eqx.field(static=True)
    adaptive: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        weight: ArrayLike = 1.0,
        *,
        relaxation: ArrayLike | None = None,
        restart: bool = True,
        adaptive: bool = True,
        tol: ArrayLike | None = None,
        max_steps: int = 100_000,
    ):
        if relaxation is None:
            relaxation = 1.0 if restart else 0.95
        require_positive(weight, "weight")
        require_positive(relaxation, "relaxation")
        require_nonnegative(1 - _tree.setting(relaxation), "1 - relaxation")
        self.weight = _tree.setting(weight)
        self.relaxation = _tree.setting(relaxation)
        self.tol = tolerance_setting(tol)
        self.restart = restart
        self.adaptive = adaptive
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Any, params: Params) -> None:
        require_saddle(problem, "ChambollePock")
        if isinstance(problem, Composite):
            require_split(problem, params, "ChambollePock", scores=True)

    def init(self, problem: Any, params: Params) -> ChambollePockState:
        term = smooth_prox(problem, scores=True)
        saddle = as_saddle_point(problem, term)
        point = first_pair(problem, saddle, params)
        dtype = _tree.dtype_of(point)
        x, y = point
        images = saddle.image(x), saddle.transposed_image(x, y)
        number = lambda value: jnp.asarray(value).astype(dtype)
        norm = saddle.operator_norm(x)
        return ChambollePockState(
            point=point,
            images=images,
            anchor=point,
            anchor_images=images,
            weight=number(self.weight),
            operator_norm=number(jnp.where(norm > 0, norm, 1)),
            curvature=number(curvature_of(saddle, x)),
            residual=number(jnp.inf),
            anchor_residual=number(jnp.inf),
            num_since=jnp.asarray(0, jnp.int32),
            num_steps=jnp.asarray(0, jnp.int32),
            term=term,
            error=number(jnp.inf),
        )

    def step(self, problem: Any, params: Params, state: ChambollePockState) -> tuple[Params, ChambollePockState]:
        new, new_state = self._step(as_saddle_point(problem, state.term), state)
        return of_kind(problem, new), new_state

    def _step(self, problem: SaddlePoint, state: ChambollePockState) -> tuple[Params, ChambollePockState]:
        (x, y), (image, pull) = state.point, state.images
        sigma = state.weight / state.operator_norm
        # Twice the slack that Condat's condition 1/tau - sigma |K|^2 >= L/2 asks for leaves room to relax by 3/2.
        tau = 1 / (state.weight * state.operator_norm + state.curvature)
        gradient = problem.smooth_gradient(x)
        new_x = problem.penalty.prox(_tree.add_scaled(x, -tau, _tree.add(gradient, pull)), tau)
        new_image = problem.image(new_x)
        ahead = _tree.sub(_tree.scale(2, new_image), image)
        new_y = problem.composed.conjugate_prox(_tree.add_scaled(y, sigma, ahead), sigma)
        new_pull = problem.transposed_image(x, new_y)
        new_gradient = gradient if problem.smooth is None else problem.smooth_gradient(new_x)

        move_x, move_y = _tree.sub(new_x, x), _tree.sub(new_y, y)
        stretched, pulled = _tree.sub(new_image, image), _tree.sub(new_pull, pull)
        bent = _tree.sub(new_gradient, gradient)
        # Norms of elements of the two subdifferentials at the new pair.
        primal = _tree.norm(_tree.add_scaled(_tree.add(pulled, bent), -1 / tau, move_x))
        dual = _tree.norm(_tree.add_scaled(stretched, -1 / sigma, move_y))
        primal, dual = relative_residuals(primal, dual, (new_gradient, new_pull), (new_image,))
        squared = _tree.squared_norm(move_x) / tau + _tree.squared_norm(move_y) / sigma
        residual = _tree.safe_sqrt(squared - 2 * _tree.vdot(stretched, move_y))
        largest = jnp.asarray(2.0 if problem.smooth is None else 1.5, tau.dtype)
        factor = largest * self.relaxation.astype(tau.dtype)
        size, length = _tree.norm(new_x), _tree.norm(move_x)
        # Of a move near the rounding unit no stretch can be told.
        resolved = length > jnp.sqrt(jnp.finfo(tau.dtype).eps) * size
        stretch = lambda change: jnp.where(resolved, _tree.norm(change) / jnp.where(resolved, length, 1), 0)
        new, new_images = (new_x, new_y), (new_image, new_pull)
        new_state = ChambollePockState(
            point=_mix(state.point, new, factor),
            images=_mix(state.images, new_images, factor),
            anchor=state.anchor,
            anchor_images=state.anchor_images,
            weight=state.weight,
            operator_norm=jnp.maximum(state.operator_norm, stretch(stretched)),
            curvature=jnp.maximum(state.curvature, stretch(bent)),
            residual=residual,
            anchor_residual=jnp.where(state.num_since == 0, residual, state.anchor_residual),
            num_since=state.num_since + 1,
            num_steps=state.num_steps + 1,
            term=state.term,
            error=jnp.maximum(primal, dual),
        )
        if self.restart:
            return new, self._anchored(new_state, state.residual, new, new_images)
        return new, _balanced(new_state, primal, dual) if self.adaptive else new_state

    def _anchored(
        self, state: ChambollePockState, last_residual: Scalar, new: Params, images: Params
    ) -> ChambollePockState:
        """The Halpern point between the anchor and the reflected step, or a restart at the new pair."""
        share = 1 - 1 / (state.num_since.astype(state.weight.dtype) + 1)
        late = _ARTIFICIAL * state.num_steps.astype(state.weight.dtype)
        start = state.anchor_residual
        rising = state.residual > last_residual
        enough = (state.residual <= _SUFFICIENT * start) | ((state.residual <= _NECESSARY * start) & rising)
        due = (enough & (state.num_since > 1)) | (state.num_since.astype(late.dtype) >= late)
        weight = state.weight
        if self.adaptive:
            moved = [_tree.norm(_tree.sub(a, b)) for a, b in zip(new, state.anchor)]
            eps = jnp.finfo(weight.dtype).eps
            told = due & (moved[0] > eps * _tree.norm(new[0])) & (moved[1] > eps * _tree.norm(new[1]))
            ratio = moved[1] / jnp.where(told, moved[0], 1)
            # The mean of logarithms, by at most a factor of ten.
            change = jnp.clip(jnp.sqrt(jnp.where(told, ratio / weight, 1)), 0.1, 10)
            weight = weight * change
        return eqx.tree_at(
            lambda s: (s.point, s.images, s.anchor, s.anchor_images, s.weight, s.num_since),
            state,
            (
                _tree.where(due, new, _mix(state.anchor, state.point, share)),
                _tree.where(due, images, _mix(state.anchor_images, state.images, share)),
                _tree.where(due, new, state.anchor),
                _tree.where(due, images, state.anchor_images),
                weight,
                jnp.where(due, 0, state.num_since),
            ),
        )

    def error(self, problem: Any, params: Params, state: ChambollePockState) -> Scalar:
        return state.error

    def dual_candidate(self, problem: Any, params: Params, state: ChambollePockState) -> Array | None:
        """Dual values u_i, one a row, that the next step makes feasible; None unless h is a mean loss of scores."""
        if not isinstance(problem, Composite) or state.term is not None:
            return None
        y = self._step(as_saddle_point(problem, None), state)[0][1]
        share = problem.smooth.share(jnp.ones_like(y))  # type: ignore[attr-defined]
        return jnp.where(share > 0, y / jnp.where(share > 0, share, 1), 0)

    def fixed_point_step(self, problem: Any, params: Params, state: ChambollePockState) -> Scalar:
        if isinstance(problem, Composite):
            return inverse_curvature(problem, params)
        return 1 / (state.operator_norm + state.curvature)


def _balanced(state: ChambollePockState, primal: Scalar, dual: Scalar) -> ChambollePockState:
    """The weight moved to where the larger residual decreases, by changes with a finite sum."""
    change = 0.5 / (1 + 0.05 * state.num_steps.astype(primal.dtype)) ** 1.5
    factor = jnp.where(primal > 2 * dual, 1 - change, jnp.where(dual > 2 * primal, 1 / (1 - change), 1))
    return eqx.tree_at(lambda s: s.weight, state, state.weight * factor)


def _mix(x: Params, y: Params, share: Scalar) -> Params:
    """`x + share (y - x)`."""
    return jax.tree.map(lambda a, b: a + share.astype(a.dtype) * (b - a), x, y)


def require_saddle(problem: Any, name: str) -> None:
    """Raise `TypeError` for a problem of another kind than the two that a primal-dual method takes."""
    if not isinstance(problem, Composite | SaddlePoint):
        raise TypeError(f"{name} solves a SaddlePoint or a Composite, got a {type(problem).__name__}.")


def curvature_of(problem: SaddlePoint, x: Params) -> Scalar:
    """Lipschitz constant of the gradient of f, or else its slope along the gradient, a lower bound."""
    if problem.smooth is None:
        return jnp.zeros((), _tree.dtype_of(x))
    known = problem.smooth.lipschitz()
    if known is not None:
        return known
    gradient = problem.smooth.gradient(x)
    size = _tree.norm(gradient)
    told = size > 0
    direction = _tree.scale(1 / jnp.where(told, size, 1), gradient)
    return jnp.where(told, _tree.norm(problem.smooth.hvp(x, direction)), 1)
