from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..solvers._settings import count_setting
from ._base import outer_step
from ._bilevel import Bilevel, BilevelPoint
from ._stochastic import AbstractStochasticBilevelSolver, common_settings, Schedule, step_at, step_setting


class F2SAState(eqx.Module):
    """State of `F2SA`.

    Attributes:
        tilted: minimizer of the inner objective with the outer one added (one-sided), or the pair of minimizers with
            it added and subtracted (two-sided).
        optimizer: state of the outer optimizer.
        key: random key of the steps to come.
        count: number of outer steps taken.
        error: norm of all directions of the last step together; infinite where they are sampled.
    """

    tilted: Any
    optimizer: Any
    key: Key[Array, ""]
    count: IntScalar
    error: Scalar


class F2SA(AbstractStochasticBilevelSolver):
    """Fully first-order stochastic approximation: a hypergradient from gradients alone, by a penalty lambda.

    With y minimizing `inner + outer / lambda` and z minimizing `inner`, the direction is `douter/dh(y) + lambda
    (dinner/dh(y) - dinner/dh(z))`, whose bias is of the order 1 / lambda. The two-sided form takes the minimizers of
    `inner + outer / lambda` and `inner - outer / lambda`, and halves the difference: its bias is of the order
    1 / lambda^2, and `inner - outer / lambda` has to be strongly convex. At outer step k the penalty is `penalty +
    growth k`. Each side starts where it was.

    Kwon, Kwon, Wright and Nowak, "A fully first-order method for stochastic bilevel optimization", 2023; Chen, Ma and
    Zhang, "Near-optimal nonconvex-strongly-convex bilevel optimization with fully first-order oracles", 2023.

    Args:
        optimizer: optax transformation of the direction.
        inner_step: step of the inner variables, a number or a schedule (a function of the number of outer steps taken).
        inner_steps: steps of each inner variable for each outer step.
        penalty: lambda at the start.
        growth: what each outer step adds to it.
        two_sided: whether to take both sides.
        key, batch_size, tol, max_steps: as in `SOBA`; the bias is no part of the error.

    Raises:
        TypeError: if `optimizer` is none; when solving, if the inner problem has a penalty.
        ValueError: if a setting is out of range; when solving, if the data has no rows to draw.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solver = jt.bilevel.F2SA(optax.sgd(0.3), 0.3, two_sided=True, penalty=30.0, key=jax.random.key(0))
        >>> print(bool(abs(jt.solve(problem, solver, (1.0, jnp.zeros(1))).params.hyper) < 1e-2))
        True
    """

    optimizer: optax.GradientTransformation
    inner_step: Array | Schedule
    penalty: Scalar
    growth: Scalar
    key: Key[Array, ""]
    tol: Scalar | None
    inner_steps: int = eqx.field(static=True)
    two_sided: bool = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        inner_step: ArrayLike | Schedule = 0.1,
        *,
        key: Key[Array, ""],
        inner_steps: int = 10,
        penalty: ArrayLike = 1.0,
        growth: ArrayLike = 0.01,
        two_sided: bool = False,
        batch_size: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        require_positive(penalty, "penalty")
        require_nonnegative(growth, "growth")
        self.inner_step = step_setting(inner_step, "inner_step")
        self.penalty = _tree.setting(penalty)
        self.growth = _tree.setting(growth)
        self.inner_steps = count_setting(inner_steps, "inner_steps", 1)
        self.two_sided = two_sided
        for name, value in common_settings(optimizer, key, batch_size, tol, max_steps).items():
            setattr(self, name, value)

    def init(self, problem: Bilevel, params: BilevelPoint) -> F2SAState:
        self.check(problem, params)
        return F2SAState(
            tilted=(params.params, params.params) if self.two_sided else params.params,
            optimizer=self.optimizer.init(params.hyper),
            key=self.key,
            count=jnp.asarray(0, jnp.int32),
            error=jnp.asarray(jnp.inf, _tree.dtype_of(params.params)),
        )

    def step(self, problem: Bilevel, params: BilevelPoint, state: F2SAState) -> tuple[BilevelPoint, F2SAState]:
        key, descend, for_inner, for_outer = jax.random.split(state.key, 4)
        dtype, hyper = state.error.dtype, params.hyper
        size = step_at(self.inner_step, state.count, dtype)
        penalty = self.penalty.astype(dtype) + self.growth.astype(dtype) * state.count.astype(dtype)
        # The tilts of the two inner objectives by the outer one.
        tilts = (1 / penalty, -1 / penalty) if self.two_sided else (1 / penalty, jnp.zeros((), dtype))
        pair = state.tilted if self.two_sided else (state.tilted, params.params)

        def slope(w: Params, tilt: Scalar, inner_data: tuple[Any, ...], outer_data: tuple[Any, ...]) -> Params:
            gradient = problem.inner_gradient(w, hyper, inner_data)
            return _tree.add_scaled(gradient, tilt, problem.outer_gradients(w, hyper, outer_data)[1])

        def body(k: IntScalar, pair: tuple[Params, Params]) -> tuple[Params, Params]:
            one, two = jax.random.split(jax.random.fold_in(descend, k))
            data = self.inner_rows(problem, one), self.outer_rows(problem, two)
            plus, minus = (_tree.add_scaled(w, -size, slope(w, tilt, *data)) for w, tilt in zip(pair, tilts))
            return plus, minus

        pair = lax.fori_loop(0, self.inner_steps, body, pair)
        data = self.inner_rows(problem, for_inner), self.outer_rows(problem, for_outer)

        def along_hyper(w: Params, tilt: Scalar) -> Params:
            inner = jax.grad(lambda h: problem.inner_problem(h, data[0]).smooth.value(w))(hyper)
            return _tree.add_scaled(inner, tilt, problem.outer_gradients(w, hyper, data[1])[2])

        plus, minus = (along_hyper(w, tilt) for w, tilt in zip(pair, tilts))
        # The derivative in the tilt, at zero, of the least tilted inner objective is the outer objective.
        direction = _tree.scale(1 / (tilts[0] - tilts[1]), _tree.sub(plus, minus))
        rest = [slope(w, tilt, *data) for w, tilt in zip(pair, tilts)]
        error = self.measured(direction, *rest)
        new_hyper, optimizer = outer_step(problem, self.optimizer, hyper, direction, state.optimizer)
        middle = _tree.scale(0.5, _tree.add(*pair)) if self.two_sided else pair[1]
        tilted = pair if self.two_sided else pair[0]
        return BilevelPoint(new_hyper, middle), F2SAState(tilted, optimizer, key, state.count + 1, error)
