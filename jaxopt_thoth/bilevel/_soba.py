import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import Scalar
from ._base import outer_step
from ._bilevel import Bilevel, BilevelPoint
from ._stochastic import (
    AbstractStochasticBilevelSolver,
    common_settings,
    directions,
    Schedule,
    step_at,
    step_setting,
    StochasticBilevelState,
)


class SOBA(AbstractStochasticBilevelSolver):
    """Stochastic bilevel algorithm: inner variable, adjoint and outer variable move together, one batch a step.

    The directions are those of stochastic gradient steps on the inner objective, on the adjoint's quadratic, and along
    the hypergradient that the two would give, all three at the same point. One derivative of the inner gradient gives
    the products with the Hessian and with the cross derivative.

    Dagreou, Ablin, Vaiter and Moreau, "A framework for bilevel optimization that enables stochastic and global
    variance reduction algorithms", 2022, Algorithm 1.

    Args:
        optimizer: optax transformation of the outer direction; `optax.sgd` of a decaying schedule is the published one.
        step_size: step of the inner variable and of the adjoint, a number or a schedule (a function of the number of
            steps taken); `0.1 / sqrt(k + 1)` by default.
        key: random key; the same key draws the same rows.
        batch_size: number of rows that a step sees of either data; None takes all.
        tol: tolerance on the error where all rows are seen; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `optimizer` is none; when solving, if the inner problem has a penalty.
        ValueError: if a setting is out of range; when solving, if the data has no rows to draw.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solver = jt.bilevel.SOBA(optax.sgd(0.1), 0.3, key=jax.random.key(0))
        >>> print(bool(abs(jt.solve(problem, solver, (1.0, jnp.zeros(1))).params.hyper) < 1e-3))
        True
    """

    optimizer: optax.GradientTransformation
    step_size: Array | Schedule
    key: Key[Array, ""]
    tol: Scalar | None
    batch_size: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        step_size: ArrayLike | Schedule = lambda k: 0.1 / jnp.sqrt(k + 1.0),
        *,
        key: Key[Array, ""],
        batch_size: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        self.step_size = step_setting(step_size, "step_size")
        for name, value in common_settings(optimizer, key, batch_size, tol, max_steps).items():
            setattr(self, name, value)

    def step(
        self, problem: Bilevel, params: BilevelPoint, state: StochasticBilevelState
    ) -> tuple[BilevelPoint, StochasticBilevelState]:
        key, for_inner, for_outer = jax.random.split(state.key, 3)
        data = self.inner_rows(problem, for_inner), self.outer_rows(problem, for_outer)
        along = directions(problem, params, state.adjoint, *data)
        size = step_at(self.step_size, state.count, state.error.dtype)
        hyper, optimizer = outer_step(problem, self.optimizer, params.hyper, along[2], state.optimizer)
        new = BilevelPoint(hyper, _tree.add_scaled(params.params, -size, along[0]))
        adjoint = _tree.add_scaled(state.adjoint, -size, along[1])
        return new, StochasticBilevelState(adjoint, optimizer, key, state.count + 1, self.measured(*along))
