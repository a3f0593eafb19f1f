from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import require_positive
from ..mirror import AbstractMirrorMap
from ..problems import AbstractProblem, VariationalInequality
from ._base import AbstractSolver
from ._mirror_descent import require_mirror_map
from ._settings import check_settings, refuse_unrolling


_MAX_TRIALS = 60
# Sufficient and necessary decrease of the residual, and the share of all steps past which an average is stale.
_SUFFICIENT, _NECESSARY, _STALE = 0.2, 0.8, 0.36


class MirrorProxState(eqx.Module):
    """State of `MirrorProx`.

    Attributes:
        dual: dual variable of the last iterate, exact where the iterate itself rounds to the boundary.
        last: the last iterate.
        image: the operator there.
        average: midpoints averaged with their step sizes since the last restart.
        total: sum of these step sizes.
        step_size: last step size.
        residual_step: step size of the Euclidean residual that is the error.
        error: the error at the point that the step returned.
        count: number of steps since the last restart.
        all_steps: number of steps.
        restart_residual: the residual at the last restart.
        last_residual: the residual after the last step.
        failed: whether the search found no step.
    """

    dual: Params
    last: Params
    image: Params
    average: Params
    total: Scalar
    step_size: Scalar
    residual_step: Scalar
    error: Scalar
    count: IntScalar
    all_steps: IntScalar
    restart_residual: Scalar
    last_residual: Scalar
    failed: BoolScalar


class _Trial(eqx.Module):
    step_size: Scalar
    middle: Params
    dual: Params
    params: Params
    accepted: BoolScalar
    count: IntScalar


class MirrorProx(AbstractSolver):
    """Mirror prox (extragradient) for a monotone `VariationalInequality`, in the geometry of a mirror map.

    From z with step s it goes to the midpoint h by F(z), and from z again by F(h). With an F that is L-Lipschitz in the
    norm of the map and `s <= modulus / L` the average of the midpoints has a gap of at most `L D / (modulus t)`, D the
    divergence from the start. Without a step size one is searched that passes the test behind this bound,
    `s <F(h) - F(z), h - z+> <= divergence(h, z) + divergence(z+, h)`.

    With `restart` the method goes on from its average or its last iterate, whichever has the smaller residual, as
    soon as that has fallen enough. In the Euclidean geometry it is then linearly convergent on matrix games and linear
    programs, and the better of the two points is returned.

    The error is the norm of `z - prox(z - s F(z))`, over s and `max(1, |F(z)|)`, in the Euclidean geometry, with s the
    inverse of how fast F changes along itself at the start.

    Nemirovski, "Prox-method with rate of convergence O(1/t)...", 2004; Applegate, Hinder, Lu and Lubin, "Faster
    first-order primal-dual methods for linear programming using restarts and sharpness", 2023.

    Args:
        mirror_map: the geometry, for example `mirror.Product((mirror.NegativeEntropy(), mirror.NegativeEntropy()))`.
        step_size: None searches for it.
        average: return the average rather than the last iterate; the state has both.
        restart: restart from the better of the two.
        shrink: factor on a step size that failed the test.
        growth: factor on the step size before each search.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `mirror_map` is none.
        ValueError: if a setting is out of range, or `restart` meets `average`; when solving, if the start is outside of
            the domain of the map.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> game = jt.problems.MatrixGame(jnp.array([[2.0, -1.0], [-1.0, 1.0]]))
        >>> entropies = jt.mirror.Product((jt.mirror.NegativeEntropy(), jt.mirror.NegativeEntropy()))
        >>> x, y = jt.solve(game, jt.MirrorProx(entropies), (jnp.full(2, 0.5), jnp.full(2, 0.5))).params
        >>> print(x.round(2), y.round(2))
        [0.4 0.6] [0.4 0.6]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = VariationalInequality
    mirror_map: AbstractMirrorMap
    step_size: Scalar | None
    shrink: Scalar
    growth: Scalar
    tol: Scalar | None
    average: bool = eqx.field(static=True)
    restart: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        mirror_map: AbstractMirrorMap,
        step_size: ArrayLike | None = None,
        *,
        average: bool = False,
        restart: bool = False,
        shrink: ArrayLike = 0.6,
        growth: ArrayLike = 1.1,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        require_mirror_map(mirror_map)
        check_settings(shrink, growth, tol, max_steps)
        if step_size is not None:
            require_positive(step_size, "step_size")
        if restart and average:
            raise ValueError("restart=True returns the better of last and average; leave average=False with it.")
        self.mirror_map = mirror_map
        self.step_size = None if step_size is None else _tree.setting(step_size)
        self.shrink = _tree.setting(shrink)
        self.growth = _tree.setting(growth)
        self.tol = None if tol is None else _tree.setting(tol)
        self.average = average
        self.restart = restart
        self.max_steps = max_steps

    def check(self, problem: VariationalInequality, params: Params) -> None:
        self.mirror_map.check(params)

    def init(self, problem: VariationalInequality, params: Params) -> MirrorProxState:
        self.check(problem, params)
        dtype = _tree.dtype_of(params)
        image, residual_step = inverse_rate(problem, params)
        infinite = jnp.asarray(jnp.inf, dtype)
        return MirrorProxState(
            dual=self.mirror_map.center_dual(self.mirror_map.to_dual(params)),
            last=params,
            image=image,
            average=_tree.zeros_like(params),
            total=jnp.zeros((), dtype),
            step_size=residual_step if self.step_size is None else self.step_size.astype(dtype),
            residual_step=residual_step,
            error=infinite,
            count=jnp.zeros((), jnp.int32),
            all_steps=jnp.zeros((), jnp.int32),
            restart_residual=infinite,
            last_residual=infinite,
            failed=jnp.asarray(False),
        )

    def step(
        self, problem: VariationalInequality, params: Params, state: MirrorProxState
    ) -> tuple[Params, MirrorProxState]:
        trial = self._search(problem, state)
        image = problem.evaluate(trial.params)
        total = state.total + trial.step_size
        share = trial.step_size / total
        average = _tree.add_scaled(state.average, share, _tree.sub(trial.middle, state.average))
        new = MirrorProxState(
            dual=self.mirror_map.center_dual(trial.dual),
            last=trial.params,
            image=image,
            average=average,
            total=total,
            step_size=trial.step_size,
            residual_step=state.residual_step,
            error=state.error,
            count=state.count + 1,
            all_steps=state.all_steps + 1,
            restart_residual=state.restart_residual,
            last_residual=state.last_residual,
            failed=~trial.accepted,
        )
        if self.restart:
            params, error, new = self._restarted(problem, new)
        elif self.average:
            params, error = average, natural_error(problem, average, problem.evaluate(average), state.residual_step)
        else:
            params, error = trial.params, natural_error(problem, trial.params, image, state.residual_step)
        # A search fails only where F is not finite, and its vanishing step must not pass for convergence.
        return params, eqx.tree_at(lambda s: s.error, new, jnp.where(new.failed, jnp.nan, error))

    def error(self, problem: VariationalInequality, params: Params, state: MirrorProxState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: VariationalInequality, params: Params, state: MirrorProxState) -> Scalar:
        return state.residual_step

    def for_unrolling(self) -> Self:
        if self.step_size is None:
            raise refuse_unrolling("MirrorProx() without a step_size")
        return self

    def _search(self, problem: VariationalInequality, state: MirrorProxState) -> _Trial:
        if self.step_size is not None:
            return self._attempt(problem, state, state.step_size, searched=False)
        first = state.step_size * self.growth.astype(state.step_size.dtype)

        def again(trial: _Trial) -> _Trial:
            smaller = trial.step_size * self.shrink.astype(first.dtype)
            retried = self._attempt(problem, state, smaller, searched=True)
            return eqx.tree_at(lambda t: t.count, retried, trial.count + 1)

        return while_loop(
            lambda trial: ~trial.accepted & (trial.count < _MAX_TRIALS),
            again,
            self._attempt(problem, state, first, searched=True),
        )

    def _attempt(
        self, problem: VariationalInequality, state: MirrorProxState, step_size: Scalar, *, searched: bool
    ) -> _Trial:
        mirror_map = self.mirror_map

        def move(image: Params) -> tuple[Params, Params]:
            dual = mirror_map.prox_dual(mirror_map.dual_step(state.dual, image, step_size), problem.penalty, step_size)
            return dual, mirror_map.from_dual(dual)

        middle_dual, middle = move(state.image)
        middle_image = problem.evaluate(middle)
        dual, params = move(middle_image)
        accepted = jnp.asarray(True)
        if searched:
            turn = _tree.sub(middle_image, state.image)
            left = step_size * _tree.vdot(turn, _tree.sub(middle, params))
            right = mirror_map.dual_divergence(middle_dual, state.dual) + mirror_map.dual_divergence(dual, middle_dual)
            # Rounding of the points enters the inner product, and drowns the test where the points hardly move.
            room = 8 * jnp.finfo(left.dtype).eps * (1 + _tree.norm(params)) * step_size * _tree.norm(turn)
            accepted = (left <= right + room) & _tree.all_finite((middle_image, params))
        return _Trial(step_size, middle, dual, params, accepted, jnp.zeros((), jnp.int32))

    def _restarted(
        self, problem: VariationalInequality, state: MirrorProxState
    ) -> tuple[Params, Scalar, MirrorProxState]:
        last = natural_error(problem, state.last, state.image, state.residual_step)
        average_image = problem.evaluate(state.average)
        average = natural_error(problem, state.average, average_image, state.residual_step)
        better = average < last
        point, image = _tree.where(better, (state.average, average_image), (state.last, state.image))
        residual = jnp.minimum(average, last)
        first = ~jnp.isfinite(state.restart_residual)
        goal = jnp.where(first, residual, state.restart_residual)
        rising = residual > state.last_residual
        restart = (residual <= _SUFFICIENT * goal) | ((residual <= _NECESSARY * goal) & rising)
        count, steps = state.count.astype(residual.dtype), state.all_steps.astype(residual.dtype)
        restart = ~first & (restart | ((count >= _STALE * steps) & (count > 1)))
        dual = self.mirror_map.center_dual(self.mirror_map.to_dual(point))
        fresh = eqx.tree_at(
            lambda s: (s.dual, s.last, s.image, s.average, s.total, s.count),
            state,
            (
                _tree.where(better, dual, state.dual),
                point,
                image,
                _tree.zeros_like(point),
                jnp.zeros_like(state.total),
                jnp.zeros_like(state.count),
            ),
        )
        chosen = _tree.where(restart, fresh, state)
        goal = jnp.where(restart, residual, goal)
        chosen = eqx.tree_at(lambda s: (s.restart_residual, s.last_residual), chosen, (goal, residual))
        return point, residual, chosen


def natural_error(problem: VariationalInequality, params: Params, image: Params, step: Scalar) -> Scalar:
    """Norm of the Euclidean residual over its step and `max(1, |F|)`, given F; NaN where F is not finite."""
    moved = problem.penalty.prox(_tree.add_scaled(params, -step, image), step)
    error = _tree.norm(_tree.sub(params, moved)) / step / jnp.maximum(1, _tree.norm(image))
    return jnp.where(_tree.all_finite(image), error, jnp.nan)


def inverse_rate(problem: VariationalInequality, params: Params) -> tuple[Params, Scalar]:
    """F at a point, and its size over that of its derivative along itself, about the inverse Lipschitz constant."""
    image = problem.evaluate(params)
    turned = jax.jvp(problem.evaluate, (params,), (image,))[1]
    size, rate = _tree.norm(image), _tree.norm(turned)
    known = (size > 0) & (rate > 0) & jnp.isfinite(size / jnp.where(rate > 0, rate, 1))
    return image, jnp.where(known, size / jnp.where(known, rate, 1), 1).astype(_tree.dtype_of(params))
