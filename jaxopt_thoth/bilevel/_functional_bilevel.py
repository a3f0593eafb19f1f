from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar, State
from ..gradients._descend import descend
from ._functional_adjoint import AbstractFunctionalAdjoint
from ._functional_hypergradient import functional_hypergradient
from ._functional_packed import float_leaves_as_arrays, Packed
from ._functional_rows import as_batch, Batch, mean_loss, num_rows, PointwiseLoss, predict


class FunctionalBilevelRecord(eqx.Module):
    """What an outer step of `FunctionalBilevel` saw; `run` returns one with an entry for each step.

    Attributes:
        value: mean outer loss before the outer step.
        inner_value: mean inner loss after the inner steps.
        gradient_norm: norm of the hypergradient.
        adjoint_residual: relative residual of the adjoint.
    """

    value: Scalar
    inner_value: Scalar
    gradient_norm: Scalar
    adjoint_residual: Scalar


class FunctionalBilevelState(eqx.Module):
    """State of `FunctionalBilevel`; its leaves are arrays, whatever the model is made of.

    Attributes:
        model: the inner model, a property.
        hyper: the hyper-parameters, a property.
        adjoint: warm start of the adjoint.
        inner_memory: state of the inner optax transformation.
        outer_memory: state of the outer one.
        key: random key of the steps to come.
        num_steps: number of outer steps taken.
        record: what the last outer step saw.
    """

    packed_model: Packed
    packed_hyper: Packed
    adjoint: State
    inner_memory: State
    outer_memory: State
    key: Key[Array, ""]
    num_steps: IntScalar
    record: FunctionalBilevelRecord

    @property
    def model(self) -> Any:
        return self.packed_model.tree

    @property
    def hyper(self) -> Params:
        return self.packed_hyper.tree


class FunctionalBilevel(eqx.Module):
    """Descent along functional hypergradients: inner steps on a model, an adjoint function, an outer step, and again.

    The model goes on from where it was, and so does the adjoint. Adjoint and hypergradient use one pair of batches.
    An outer step that is not finite is discarded and shows in the record.

    Petrulionyte, Mairal and Arbel, "Functional bilevel optimization for machine learning", 2024.

    Args:
        outer_loss: as in `functional_hypergradient`.
        inner_loss: as in `functional_hypergradient`.
        adjoint: how the adjoint function is found.
        inner_optimizer: optax transformation of the weights of the model, by default `optax.adam(1e-3)`.
        outer_optimizer: optax transformation of the hyper-parameters, by default `optax.adam(1e-3)`.
        inner_steps: number of inner steps before each outer one.
        refit: maps model, hyper-parameters and inner batch to the model after the inner steps, to solve in closed form
            what can be (a last layer); None leaves it.
        inner_batch_size: number of inner examples drawn for each inner step and each hypergradient; None takes all.
        outer_batch_size: number of outer examples of a hypergradient; None takes all.
        projection: maps hyper-parameters to the nearest ones allowed, after each outer step; None leaves them.

    Raises:
        TypeError: if `adjoint` is none of this room.
        ValueError: if a count is out of range; when running, as `functional_hypergradient`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> z, x, o = jnp.array([[-1.0], [0.0], [1.0]]), jnp.array([-1.0, 0.5, 1.0]), jnp.array([-3.0, 0.0, 3.0])
        >>> method = jt.bilevel.FunctionalBilevel(
        ...     lambda w, v, z, o: (v - o) ** 2, lambda w, v, z, x: (v - w * x) ** 2, jt.bilevel.LinearFeatures(),
        ...     inner_optimizer=optax.sgd(0.3), outer_optimizer=optax.sgd(0.3))
        >>> model = eqx.nn.Linear(1, "scalar", key=jax.random.key(0))
        >>> state, record = method.run(model, 0.0, (z, x), (z, o), key=jax.random.key(1), num_steps=50)
        >>> print(state.hyper.round(3))  # regression of o on what z and a constant tell of x
        2.88
    """

    outer_loss: PointwiseLoss
    inner_loss: PointwiseLoss
    adjoint: AbstractFunctionalAdjoint
    inner_optimizer: optax.GradientTransformation
    outer_optimizer: optax.GradientTransformation
    refit: Callable[[Any, Params, Batch], Any] | None
    projection: Callable[[Params], Params] | None
    inner_steps: int = eqx.field(static=True)
    inner_batch_size: int | None = eqx.field(static=True)
    outer_batch_size: int | None = eqx.field(static=True)

    def __init__(
        self,
        outer_loss: PointwiseLoss,
        inner_loss: PointwiseLoss,
        adjoint: AbstractFunctionalAdjoint,
        *,
        inner_optimizer: optax.GradientTransformation | None = None,
        outer_optimizer: optax.GradientTransformation | None = None,
        inner_steps: int = 20,
        refit: Callable[[Any, Params, Batch], Any] | None = None,
        inner_batch_size: int | None = None,
        outer_batch_size: int | None = None,
        projection: Callable[[Params], Params] | None = None,
    ):
        if not isinstance(adjoint, AbstractFunctionalAdjoint):
            raise TypeError(f"adjoint must be one of this room, LinearFeatures(...) for example, got {adjoint!r}.")
        if inner_steps < 0:
            raise ValueError(f"inner_steps must be nonnegative, got {inner_steps}; pass the number of optax steps.")
        for name, size in (("inner_batch_size", inner_batch_size), ("outer_batch_size", outer_batch_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name} must be positive, got {size}; pass None to take all examples.")
        self.outer_loss = outer_loss
        self.inner_loss = inner_loss
        self.adjoint = adjoint
        self.inner_optimizer = optax.adam(1e-3) if inner_optimizer is None else inner_optimizer
        self.outer_optimizer = optax.adam(1e-3) if outer_optimizer is None else outer_optimizer
        self.refit = refit
        self.projection = projection
        self.inner_steps = inner_steps
        self.inner_batch_size = inner_batch_size
        self.outer_batch_size = outer_batch_size

    def init(self, model: Any, hyper: Params, *, key: Key[Array, ""]) -> FunctionalBilevelState:
        """The state at a model and at hyper-parameters."""
        hyper = float_leaves_as_arrays(hyper)
        dtype = _tree.dtype_of(eqx.filter(hyper, eqx.is_inexact_array))
        unknown = jnp.asarray(jnp.inf, dtype)
        return FunctionalBilevelState(
            packed_model=Packed(model),
            packed_hyper=Packed(hyper),
            adjoint=self.adjoint.init(),
            inner_memory=self.inner_optimizer.init(eqx.filter(model, eqx.is_inexact_array)),
            outer_memory=self.outer_optimizer.init(eqx.filter(hyper, eqx.is_inexact_array)),
            key=key,
            num_steps=jnp.zeros((), jnp.int32),
            record=FunctionalBilevelRecord(unknown, unknown, unknown, unknown),
        )

    def update(self, state: FunctionalBilevelState, inner_data: Batch, outer_data: Batch) -> FunctionalBilevelState:
        """The state after `inner_steps` inner steps and one outer step; batches are drawn from the data."""
        inner_data, outer_data = as_batch(inner_data, "inner_data"), as_batch(outer_data, "outer_data")
        key, inner_key, draw_inner, draw_outer = jax.random.split(state.key, 4)
        hyper = state.hyper
        model, inner_memory = self._descend(state, hyper, inner_data, inner_key)
        inner_batch = _draw(inner_data, self.inner_batch_size, draw_inner, "inner_batch_size")
        outer_batch = _draw(outer_data, self.outer_batch_size, draw_outer, "outer_batch_size")
        if self.refit is not None:
            model = self.refit(model, hyper, inner_batch)
        found = functional_hypergradient(
            self.outer_loss,
            self.inner_loss,
            model,
            hyper,
            inner_batch,
            outer_batch,
            adjoint=self.adjoint,
            adjoint_state=state.adjoint,
        )
        moved, outer_memory = descend(self.outer_optimizer, found.gradient, state.outer_memory, hyper)
        if self.projection is not None:
            moved = self.projection(moved)
        dtype = state.record.value.dtype
        inner_value = mean_loss(self.inner_loss, hyper, predict(model, inner_batch[0]), inner_batch, "inner_loss")
        seen = (found.value, inner_value, _tree.norm(found.gradient), found.adjoint_residual)
        new = FunctionalBilevelState(
            packed_model=Packed(model),
            packed_hyper=Packed(moved),
            adjoint=found.adjoint_state,
            inner_memory=inner_memory,
            outer_memory=outer_memory,
            key=key,
            num_steps=state.num_steps + 1,
            record=FunctionalBilevelRecord(*(value.astype(dtype) for value in seen)),
        )
        finite = _tree.all_finite((new.packed_model, new.packed_hyper, found.value))
        kept = eqx.tree_at(lambda s: (s.key, s.num_steps, s.record), state, (new.key, new.num_steps, new.record))
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, kept)

    def run(
        self,
        model: Any,
        hyper: Params,
        inner_data: Batch,
        outer_data: Batch,
        *,
        key: Key[Array, ""],
        num_steps: int,
    ) -> tuple[FunctionalBilevelState, FunctionalBilevelRecord]:
        """The state after `num_steps` outer steps, and what each of them saw."""
        inner_data, outer_data = as_batch(inner_data, "inner_data"), as_batch(outer_data, "outer_data")

        def step(state: FunctionalBilevelState, _: None) -> tuple[FunctionalBilevelState, FunctionalBilevelRecord]:
            state = self.update(state, inner_data, outer_data)
            return state, state.record

        return jax.lax.scan(step, self.init(model, hyper, key=key), None, length=num_steps)

    def _descend(
        self, state: FunctionalBilevelState, hyper: Params, data: Batch, key: Key[Array, ""]
    ) -> tuple[Any, State]:
        if self.inner_steps == 0:
            return state.model, state.inner_memory
        weights, rest = eqx.partition(state.model, eqx.is_inexact_array)

        def risk(weights: Any, batch: Batch) -> Scalar:
            values = predict(eqx.combine(weights, rest), batch[0])
            return mean_loss(self.inner_loss, hyper, values, batch, "inner_loss")

        def step(carry: tuple[Any, State], key: Key[Array, ""]) -> tuple[tuple[Any, State], None]:
            weights, memory = carry
            batch = _draw(data, self.inner_batch_size, key, "inner_batch_size")
            return descend(self.inner_optimizer, jax.grad(risk)(weights, batch), memory, weights), None

        keys = jax.random.split(key, self.inner_steps)
        (weights, memory), _ = jax.lax.scan(step, (weights, state.inner_memory), keys)
        return eqx.combine(weights, rest), memory


def _draw(data: Batch, size: int | None, key: Key[Array, ""], name: str) -> Batch:
    n = num_rows(data)
    if size is None:
        return data
    if size > n:
        raise ValueError(f"{name} is {size}, and there are {n} examples to draw from; pass at most that.")
    rows = jax.random.choice(key, n, (size,), replace=False)
    return jax.tree.map(lambda leaf: leaf[rows], data)
