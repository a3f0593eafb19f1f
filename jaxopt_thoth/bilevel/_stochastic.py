"""What the stochastic methods share: rows drawn from the data, step sizes, and the three directions of a step."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_positive
from ..solvers._settings import count_setting, tolerance_setting
from ._base import AbstractBilevelSolver, require_optimizer
from ._bilevel import Bilevel, BilevelPoint


Schedule = Callable[[Scalar], ArrayLike]


class StochasticBilevelState(eqx.Module):
    """State of the stochastic methods.

    Attributes:
        adjoint: estimate of the solution q of `H q = douter/dw`.
        optimizer: state of the outer optimizer.
        key: random key of the steps to come.
        count: number of outer steps taken.
        error: norm of the three directions of the last step together; infinite where they are sampled.
    """

    adjoint: Params
    optimizer: Any
    key: Key[Array, ""]
    count: IntScalar
    error: Scalar


class AbstractStochasticBilevelSolver(AbstractBilevelSolver):
    """A method whose steps see `batch_size` rows of the data, drawn with replacement, or all of them.

    With all rows the error is the norm of the inner gradient, the adjoint's residual and the direction of the outer
    variable together, zero exactly at a stationary point. With drawn rows nothing that a step sees tells how far the
    solution is: a run then takes all its `max_steps` and ends, honestly, by `max_steps_reached`.
    """

    optimizer: eqx.AbstractVar[optax.GradientTransformation]
    key: eqx.AbstractVar[Key[Array, ""]]
    batch_size: eqx.AbstractVar[int | None]

    def check(self, problem: Bilevel, params: Params) -> None:
        name = type(self).__name__
        problem.require_smooth(name)
        if self.batch_size is not None:
            for data, which in ((problem.inner_data, "inner_data"), (problem.outer_data, "outer_data")):
                num_rows(data, which)

    def init(self, problem: Bilevel, params: BilevelPoint) -> Any:
        self.check(problem, params)
        return StochasticBilevelState(
            adjoint=_tree.zeros_like(params.params),
            optimizer=self.optimizer.init(params.hyper),
            key=self.key,
            count=jnp.asarray(0, jnp.int32),
            error=jnp.asarray(jnp.inf, _tree.dtype_of(params.params)),
        )

    def error(self, problem: Bilevel, params: BilevelPoint, state: Any) -> Scalar:
        return state.error

    def inner_rows(self, problem: Bilevel, key: Key[Array, ""]) -> tuple[Any, ...]:
        """Rows of the inner data."""
        return drawn_rows(problem.inner_data, key, self.batch_size)

    def outer_rows(self, problem: Bilevel, key: Key[Array, ""]) -> tuple[Any, ...]:
        """Rows of the outer data."""
        return drawn_rows(problem.outer_data, key, self.batch_size)

    def measured(self, *directions: Params) -> Scalar:
        """The error, from the directions of a step."""
        return norm_of(*directions) if self.batch_size is None else jnp.asarray(jnp.inf, _tree.dtype_of(directions[0]))


def common_settings(
    optimizer: Any, key: Any, batch_size: int | None, tol: ArrayLike | None, max_steps: int
) -> dict[str, Any]:
    """The settings that all stochastic methods have, checked."""
    if not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key):
        raise ValueError(f"key must be a random key, got {type(key).__name__}; pass jax.random.key(0).")
    return {
        "optimizer": require_optimizer(optimizer),
        "key": key,
        "batch_size": None if batch_size is None else count_setting(batch_size, "batch_size", 1),
        "tol": tolerance_setting(tol),
        "max_steps": count_setting(max_steps, "max_steps"),
    }


def step_setting(value: ArrayLike | Schedule, name: str) -> Array | Schedule:
    """A step size as a leaf, or a schedule of the number of outer steps as it is."""
    if callable(value):
        return value
    require_positive(value, name)
    return _tree.setting(value)


def step_at(value: Array | Schedule, count: IntScalar, dtype: Any) -> Scalar:
    """The step size of a step."""
    return jnp.asarray(value(count.astype(dtype)) if callable(value) else value).astype(dtype)


def num_rows(data: tuple[Any, ...], name: str) -> int:
    """The common length of the first axes; raises `ValueError` where there is none."""
    leaves = jax.tree.leaves(data)
    lengths = {jnp.shape(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths == {()}:
        shapes = [jnp.shape(leaf) for leaf in leaves]
        raise ValueError(
            f"batch_size draws rows of {name}, whose arrays must have one first axis in common, got shapes {shapes}; "
            "close over what has no rows, or pass batch_size=None."
        )
    return lengths.pop()[0]


def drawn_rows(data: tuple[Any, ...], key: Key[Array, ""], batch_size: int | None) -> tuple[Any, ...]:
    """Rows drawn with replacement, or all."""
    if batch_size is None:
        return data
    rows = jax.random.randint(key, (batch_size,), 0, num_rows(data, "data"))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], data)


def norm_of(*parts: Params) -> Scalar:
    """Norm of several pytrees together."""
    return _tree.safe_sqrt(sum((_tree.squared_norm(part) for part in parts[1:]), _tree.squared_norm(parts[0])))


def directions(
    problem: Bilevel, point: BilevelPoint, adjoint: Params, inner_data: tuple[Any, ...], outer_data: tuple[Any, ...]
) -> tuple[Params, Params, Params]:
    """Inner gradient, residual of the adjoint system, and estimated hypergradient, all at one point."""
    gradient, curved, crossed = problem.inner_products(point.params, point.hyper, adjoint, inner_data)
    _, along_params, along_hyper = problem.outer_gradients(point.params, point.hyper, outer_data)
    return gradient, _tree.sub(curved, along_params), _tree.sub(along_hyper, crossed)


def inner_descent(
    solver: AbstractStochasticBilevelSolver,
    problem: Bilevel,
    point: BilevelPoint,
    key: Key[Array, ""],
    step_size: Scalar,
    num_steps: int,
) -> BilevelPoint:
    """The point after some stochastic gradient steps of the inner variable, each on rows of its own."""

    def body(k: IntScalar, params: Params) -> Params:
        data = solver.inner_rows(problem, jax.random.fold_in(key, k))
        return _tree.add_scaled(params, -step_size, problem.inner_gradient(params, point.hyper, data))

    return BilevelPoint(point.hyper, lax.fori_loop(0, num_steps, body, point.params))
