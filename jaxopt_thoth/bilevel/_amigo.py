import equinox as eqx
import jax
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from ..solvers._settings import count_setting
from ._base import outer_step
from ._bilevel import Bilevel, BilevelPoint
from ._stochastic import (
    AbstractStochasticBilevelSolver,
    common_settings,
    directions,
    inner_descent,
    Schedule,
    step_at,
    step_setting,
    StochasticBilevelState,
)


class AmIGO(AbstractStochasticBilevelSolver):
    """Amortized implicit gradient optimization: warm-started stochastic steps for the inner variable and the adjoint.

    Each outer step takes some stochastic gradient steps of the inner objective, then some of the adjoint's quadratic
    `q'Hq/2 - q'g` with g from one outer batch and H from a fresh batch a step, both from where they were, and moves the
    outer variable along the hypergradient that they give.

    Arbel and Mairal, "Amortized implicit differentiation for stochastic bilevel optimization", 2022, Algorithm 1.

    Args:
        optimizer: optax transformation of the hypergradient.
        inner_step: step of the inner variable, a number or a schedule (a function of the number of outer steps taken).
        adjoint_step: the same of the adjoint; as `inner_step` by default.
        inner_steps: inner steps for each outer step.
        adjoint_steps: adjoint steps for each outer step.
        key, batch_size, tol, max_steps: as in `SOBA`.

    Raises:
        TypeError: if `optimizer` is none; when solving, if the inner problem has a penalty.
        ValueError: if a setting is out of range; when solving, if the data has no rows to draw.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solver = jt.bilevel.AmIGO(optax.sgd(0.3), 0.3, key=jax.random.key(0))
        >>> print(bool(abs(jt.solve(problem, solver, (1.0, jnp.zeros(1))).params.hyper) < 1e-3))
        True
    """

    optimizer: optax.GradientTransformation
    inner_step: Array | Schedule
    adjoint_step: Array | Schedule
    key: Key[Array, ""]
    tol: Scalar | None
    inner_steps: int = eqx.field(static=True)
    adjoint_steps: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        inner_step: ArrayLike | Schedule = 0.1,
        adjoint_step: ArrayLike | Schedule | None = None,
        *,
        key: Key[Array, ""],
        inner_steps: int = 10,
        adjoint_steps: int = 10,
        batch_size: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        self.inner_step = step_setting(inner_step, "inner_step")
        self.adjoint_step = step_setting(inner_step if adjoint_step is None else adjoint_step, "adjoint_step")
        self.inner_steps = count_setting(inner_steps, "inner_steps", 1)
        self.adjoint_steps = count_setting(adjoint_steps, "adjoint_steps", 1)
        for name, value in common_settings(optimizer, key, batch_size, tol, max_steps).items():
            setattr(self, name, value)

    def step(
        self, problem: Bilevel, params: BilevelPoint, state: StochasticBilevelState
    ) -> tuple[BilevelPoint, StochasticBilevelState]:
        key, for_inner, for_outer, for_adjoint, last = jax.random.split(state.key, 5)
        dtype = state.error.dtype
        size = step_at(self.inner_step, state.count, dtype)
        point = inner_descent(self, problem, params, for_inner, size, self.inner_steps)
        outer_data = self.outer_rows(problem, for_outer)
        target = problem.outer_gradients(point.params, point.hyper, outer_data)[1]
        adjoint_size = step_at(self.adjoint_step, state.count, dtype)

        def body(k: IntScalar, adjoint: Params) -> Params:
            data = self.inner_rows(problem, jax.random.fold_in(for_adjoint, k))
            curved = jax.jvp(lambda w: problem.inner_gradient(w, point.hyper, data), (point.params,), (adjoint,))[1]
            return _tree.add_scaled(adjoint, -adjoint_size, _tree.sub(curved, target))

        adjoint = lax.fori_loop(0, self.adjoint_steps, body, state.adjoint)
        along = directions(problem, point, adjoint, self.inner_rows(problem, last), outer_data)
        hyper, optimizer = outer_step(problem, self.optimizer, point.hyper, along[2], state.optimizer)
        new = BilevelPoint(hyper, point.params)
        return new, StochasticBilevelState(adjoint, optimizer, key, state.count + 1, self.measured(*along))
