from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from ._base import outer_step
from ._bilevel import Bilevel, BilevelPoint
from ._stochastic import (
    AbstractStochasticBilevelSolver,
    common_settings,
    norm_of,
    num_rows,
    Schedule,
    step_at,
    step_setting,
)


class SABAState(eqx.Module):
    """State of `SABA`.

    Attributes:
        adjoint: estimate of the solution q of `H q = douter/dw`.
        optimizer: state of the outer optimizer.
        key: random key of the steps to come.
        count: number of steps taken.
        inner_memory: last inner gradient, product with the Hessian and product with the cross derivative of each block.
        outer_memory: last outer gradients, in the inner and in the outer variable, of each block.
        inner_mean: mean of `inner_memory` over the blocks.
        outer_mean: mean of `outer_memory` over the blocks.
    """

    adjoint: Params
    optimizer: Any
    key: Key[Array, ""]
    count: IntScalar
    inner_memory: Params
    outer_memory: Params
    inner_mean: Params
    outer_mean: Params


class SABA(AbstractStochasticBilevelSolver):
    """SOBA with the variance reduction of SAGA: constant steps, and linear convergence where the problem allows it.

    The data are cut into blocks of `batch_size` rows. The last inner gradient, Hessian product, cross product and outer
    gradients of each block are kept, and correct those of the blocks drawn; at the start they are computed for all.
    The error is the norm of the three directions that the means of the memory give. Memory: for each inner block twice
    the inner variable and once the outer one, for each outer block once each.

    Dagreou, Ablin, Vaiter and Moreau, "A framework for bilevel optimization that enables stochastic and global
    variance reduction algorithms", 2022, Section 2.3.

    Args:
        optimizer: optax transformation of the outer direction, for example `optax.sgd(0.01)`.
        step_size: step of the inner variable and of the adjoint, a number or a schedule (a function of the number of
            steps taken).
        batch_size: rows of a block; it has to divide the number of rows of either data.
        key, tol, max_steps: as in `SOBA`.

    Raises:
        TypeError: if `optimizer` is none; when solving, if the inner problem has a penalty.
        ValueError: if a setting is out of range; when solving, if the data cannot be cut into such blocks.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h, y: jnp.mean((w - y) ** 2) / 2 + jnp.exp(h) * w**2 / 2  # w* = mean(y) / (1 + e^h)
        >>> outer = lambda w, h, t: jnp.mean((w - t) ** 2)
        >>> problem = jt.bilevel.Bilevel(
        ...     outer, inner, inner_data=(jnp.array([1.0, 2.0, 3.0]),), outer_data=(jnp.array([0.5, 1.5]),)
        ... )
        >>> solver = jt.bilevel.SABA(optax.sgd(0.1), 0.2, batch_size=1, key=jax.random.key(0))
        >>> solution = jt.solve(problem, solver, (1.0, jnp.array(0.0)))
        >>> print(bool(abs(solution.params.hyper) < 1e-3), bool(solution.result == jt.RESULTS.converged))
        True True
    """

    optimizer: optax.GradientTransformation
    step_size: Array | Schedule
    key: Key[Array, ""]
    tol: Scalar | None
    batch_size: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        step_size: ArrayLike | Schedule = 0.01,
        *,
        batch_size: int,
        key: Key[Array, ""],
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        self.step_size = step_setting(step_size, "step_size")
        for name, value in common_settings(optimizer, key, batch_size, tol, max_steps).items():
            setattr(self, name, value)

    def check(self, problem: Bilevel, params: Params) -> None:
        super().check(problem, params)
        for data, name in ((problem.inner_data, "inner_data"), (problem.outer_data, "outer_data")):
            rows = num_rows(data, name)
            if rows % self.batch_size:
                raise ValueError(
                    f"batch_size must divide the rows of {name}, got {self.batch_size} for {rows}; pass another size, "
                    "or leave rows out."
                )

    def init(self, problem: Bilevel, params: BilevelPoint) -> SABAState:
        self.check(problem, params)
        adjoint = _tree.zeros_like(params.params)
        blocks = lambda data, name: jnp.arange(num_rows(data, name) // self.batch_size)
        inner_memory = lax.map(
            lambda i: self._inner_terms(problem, params, adjoint, i), blocks(problem.inner_data, "inner_data")
        )
        outer_memory = lax.map(
            lambda j: self._outer_terms(problem, params, j), blocks(problem.outer_data, "outer_data")
        )
        mean = lambda memory: jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), memory)
        return SABAState(
            adjoint=adjoint,
            optimizer=self.optimizer.init(params.hyper),
            key=self.key,
            count=jnp.asarray(0, jnp.int32),
            inner_memory=inner_memory,
            outer_memory=outer_memory,
            inner_mean=mean(inner_memory),
            outer_mean=mean(outer_memory),
        )

    def step(self, problem: Bilevel, params: BilevelPoint, state: SABAState) -> tuple[BilevelPoint, SABAState]:
        key, for_inner, for_outer = jax.random.split(state.key, 3)
        i = self._drawn(for_inner, state.inner_memory)
        j = self._drawn(for_outer, state.outer_memory)
        inner_new = self._inner_terms(problem, params, state.adjoint, i)
        outer_new = self._outer_terms(problem, params, j)
        inner_terms, inner_memory, inner_mean = _replace(state.inner_memory, state.inner_mean, i, inner_new)
        outer_terms, outer_memory, outer_mean = _replace(state.outer_memory, state.outer_mean, j, outer_new)
        along = _combine(inner_terms, outer_terms)
        size = step_at(self.step_size, state.count, _tree.dtype_of(params.params))
        hyper, optimizer = outer_step(problem, self.optimizer, params.hyper, along[2], state.optimizer)
        new = BilevelPoint(hyper, _tree.add_scaled(params.params, -size, along[0]))
        return new, SABAState(
            adjoint=_tree.add_scaled(state.adjoint, -size, along[1]),
            optimizer=optimizer,
            key=key,
            count=state.count + 1,
            inner_memory=inner_memory,
            outer_memory=outer_memory,
            inner_mean=inner_mean,
            outer_mean=outer_mean,
        )

    def error(self, problem: Bilevel, params: BilevelPoint, state: SABAState) -> Scalar:
        return norm_of(*_combine(state.inner_mean, state.outer_mean))

    def _drawn(self, key: Key[Array, ""], memory: Params) -> IntScalar:
        return jax.random.randint(key, (), 0, jax.tree.leaves(memory)[0].shape[0])

    def _rows(self, data: tuple[Any, ...], block: IntScalar) -> tuple[Any, ...]:
        take = lambda leaf: lax.dynamic_slice_in_dim(jnp.asarray(leaf), block * self.batch_size, self.batch_size)
        return jax.tree.map(take, data)

    def _inner_terms(self, problem: Bilevel, point: BilevelPoint, adjoint: Params, block: IntScalar) -> Params:
        return problem.inner_products(point.params, point.hyper, adjoint, self._rows(problem.inner_data, block))

    def _outer_terms(self, problem: Bilevel, point: BilevelPoint, block: IntScalar) -> Params:
        return problem.outer_gradients(point.params, point.hyper, self._rows(problem.outer_data, block))[1:]


def _replace(memory: Params, mean: Params, index: IntScalar, new: Params) -> tuple[Params, Params, Params]:
    """The corrected terms, and memory and mean with the new ones in the place of the old."""
    old = jax.tree.map(lambda table: table[index], memory)
    change = _tree.sub(new, old)
    count = jax.tree.leaves(memory)[0].shape[0]
    memory = jax.tree.map(lambda table, leaf: table.at[index].set(leaf), memory, new)
    return _tree.add(mean, change), memory, _tree.add_scaled(mean, 1 / count, change)


def _combine(inner: Any, outer: Any) -> tuple[Params, Params, Params]:
    gradient, curved, crossed = inner
    along_params, along_hyper = outer
    return gradient, _tree.sub(curved, along_params), _tree.sub(along_hyper, crossed)
