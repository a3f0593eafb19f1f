from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from ..mirror import AbstractMirrorMap
from ..problems import Composite
from ..smooth import AbstractStochastic, Expectation
from ._base import AbstractSolver
from ._bregman_step import check_geometry, move, residual_norm
from ._inverse_curvature import inverse_curvature_along
from ._mirror_descent import require_mirror_map, valid_step
from ._settings import count_setting, tolerance_setting
from ._step_rule import AbstractStepRule, as_rule, StepInfo


class StochasticMirrorDescentState(eqx.Module):
    """State of `StochasticMirrorDescent`.

    Attributes:
        dual: dual variable of the current iterate.
        key: random key of the steps to come.
        average: iterates averaged with the step sizes that led from them.
        total: sum of the step sizes.
        count: number of steps taken.
        accumulated: sum of the squared dual norms of the sampled gradients.
        error: residual when last looked at.
    """

    dual: Params
    key: Key[Array, ""]
    average: Params
    total: Scalar
    count: IntScalar
    accumulated: Scalar
    error: Scalar


class StochasticMirrorDescent(AbstractSolver):
    """Stochastic mirror descent for `Composite` problems whose smooth term is sampled, one batch of examples a step.

    `x_new = argmin <g, x> + penalty(x) + divergence(x, x_old) / eta`, g the gradient at a batch. With the Euclidean map
    this is (proximal) stochastic gradient descent. What the noise costs is `relative_variance`: where f is mu-strongly
    convex relative to the map and no penalty moves the solution, constant steps end within `eta * variance / mu` of it
    in expectation, in divergence (Hendrikx 2024), and `HarmonicStep(1 / mu, offset)` reaches it.

    Nothing a step sees tells how far the solution is, so a run takes all its `max_steps` and ends, honestly, by
    `max_steps_reached`; with `check_every` the residual of `MirrorDescent` is computed every so many steps, from the
    full gradient, and a run whose residual meets `tol` has converged. `state.average` is the average of the iterates,
    weighted with the steps that led from them, for which the bounds of convex objectives hold. Derivatives of
    `params` are those of the exact solution. Under `vmap`, checks cost what they cost at every step.

    Nemirovski, Juditsky, Lan and Shapiro, "Robust stochastic approximation approach to stochastic programming", 2009;
    Hendrikx, "Investigating variance definitions for mirror descent with relative smoothness", 2024.

    Args:
        mirror_map: the geometry, for example `mirror.NegativeEntropy()`.
        step_size: a number, a schedule (a function of the number of steps taken), `HarmonicStep`, `DecayingStep` or
            `AdaGradNormStep`.
        key: random key; the same key draws the same examples.
        check_every: number of steps between two looks at the full gradient; None never looks.
        tol: tolerance on the residual; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `mirror_map` is none; when solving, if the smooth term cannot be sampled.
        ValueError: if a setting is out of range, or the rule compares values; when solving, if the start is outside of
            the domain, the penalty has no Bregman prox in this geometry, or `check_every` meets an `Expectation`
            without its `exact` function.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.smooth.FiniteSum(lambda w, t: jnp.sum((w - t) ** 2) / 2, jnp.eye(3)[jnp.array([0, 0, 0, 1, 2])])
        >>> rule, key = jt.solvers.HarmonicStep(offset=10.0), jax.random.key(0)
        >>> solver = jt.StochasticMirrorDescent(jt.mirror.Euclidean(), rule, key=key, max_steps=5000)
        >>> print(jt.solve(jt.Composite(term, jt.penalties.Simplex()), solver, jnp.ones(3) / 3).params.round(1))
        [0.6 0.2 0.2]
    """

    mirror_map: AbstractMirrorMap
    rule: AbstractStepRule
    key: Key[Array, ""]
    tol: Scalar | None
    check_every: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        mirror_map: AbstractMirrorMap,
        step_size: ArrayLike | Callable[[Array], ArrayLike] | AbstractStepRule,
        *,
        key: Key[Array, ""],
        check_every: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        require_mirror_map(mirror_map)
        self.mirror_map = mirror_map
        self.rule = as_rule(step_size)
        if self.rule.needs_value:
            raise ValueError(
                f"step_size={type(self.rule).__name__} compares values, and sampled ones say too little; pass a "
                "number, HarmonicStep, DecayingStep or AdaGradNormStep."
            )
        if not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key):
            raise ValueError(f"key must be a random key, got {type(key).__name__}; pass jax.random.key(0).")
        self.key = key
        self.check_every = None if check_every is None else count_setting(check_every, "check_every", 1)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Composite, params: Params) -> None:
        if not isinstance(problem.smooth, AbstractStochastic):
            raise TypeError(
                f"StochasticMirrorDescent needs a smooth term that it can sample, got {type(problem.smooth).__name__}; "
                "pass smooth.FiniteSum(fn, data) or smooth.Expectation(fn, sample), or use MirrorDescent()."
            )
        if self.check_every is not None and isinstance(problem.smooth, Expectation) and problem.smooth.exact is None:
            raise ValueError(
                "check_every needs the exact gradient; pass Expectation(..., exact=), or check_every=None."
            )
        check_geometry(problem, self.mirror_map, params)

    def init(self, problem: Composite, params: Params) -> StochasticMirrorDescentState:
        self.check(problem, params)
        dtype = _tree.dtype_of(params)
        zero = jnp.zeros((), dtype)
        return StochasticMirrorDescentState(
            dual=self.mirror_map.center_dual(self.mirror_map.to_dual(params)),
            key=self.key,
            average=_tree.zeros_like(params),
            total=zero,
            count=jnp.zeros((), jnp.int32),
            accumulated=zero,
            error=jnp.asarray(jnp.inf, dtype),
        )

    def step(
        self, problem: Composite, params: Params, state: StochasticMirrorDescentState
    ) -> tuple[Params, StochasticMirrorDescentState]:
        dtype = state.total.dtype
        key, draw = jax.random.split(state.key)
        value, gradient = problem.smooth.sampled_value_and_grad(params, draw)  # type: ignore[attr-defined]
        squared = self.mirror_map.dual_norm(gradient).astype(dtype) ** 2
        accumulated = state.accumulated + squared
        modulus = self.mirror_map.modulus(params).astype(dtype)
        info = StepInfo(state.count, value.astype(dtype), squared, accumulated, modulus)
        step_size = valid_step(jnp.asarray(self.rule(info)).astype(dtype))
        new, dual = move(problem, self.mirror_map, state.dual, gradient, step_size)
        total = state.total + step_size
        share = step_size / jnp.where(total > 0, total, 1)
        count = state.count + 1
        error = state.error
        if self.check_every is not None:
            due = count % self.check_every == 0
            error = lax.cond(due, lambda w: self._residual(problem, w).astype(dtype), lambda _: error, new)
        return new, StochasticMirrorDescentState(
            dual=dual,
            key=key,
            average=_tree.add_scaled(state.average, share, _tree.sub(params, state.average)),
            total=total,
            count=count,
            accumulated=accumulated,
            error=error,
        )

    def error(self, problem: Composite, params: Params, state: StochasticMirrorDescentState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: StochasticMirrorDescentState) -> Scalar:
        return inverse_curvature_along(problem, params, problem.smooth.gradient(params))

    def _residual(self, problem: Composite, params: Params) -> Scalar:
        gradient = problem.smooth.gradient(params)
        residual = residual_norm(problem, params, gradient, inverse_curvature_along(problem, params, gradient))
        return residual / jnp.maximum(1, _tree.norm(gradient))
