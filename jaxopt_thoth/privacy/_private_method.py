from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from .._types import IntScalar, Params, Scalar
from ..gradients import per_example
from ..gradients._descend import descend
from ..gradients._per_example import Engine
from ._gaussian_mechanism import add_noise, normal_like, require_key
from ._matrix_mechanism_noise import as_wide
from ._plan_base import AbstractPlan
from ._private_gradient import private_gradient


class PrivateState(eqx.Module):
    """State of a private method. `nonfinite` and `dropped` are counts of the data, which the bound does not cover.

    Attributes:
        plan: what was carried out, so that nobody else's epsilon is told for it.
        key: random key of the run; step t draws from `jax.random.fold_in(key, t)`.
        count: number of steps taken.
        dropped: number of drawn examples that did not fit in their batch; the bound is void unless it is zero.
        nonfinite: number of gradients that were not finite, and contributed zero.
        memory: what the noise of the next steps needs of the noise so far.
        inner: state of the optimizer, or the dual variable.
    """

    plan: AbstractPlan
    key: Key[Array, ""]
    count: IntScalar
    dropped: IntScalar
    nonfinite: IntScalar
    memory: Params
    inner: Any


class AbstractPrivateMethod(eqx.Module):
    """A method whose only look at the data is a clipped sum with noise: `init`, then `update` or `run`.

    Attributes:
        loss: scalar function `loss(params, example)`.
        plan: how batches are drawn, gradients clipped, and noise added.
        engine: how gradients of examples are computed, see `gradients.per_example`.
        microbatch_size: how many of them at a time.
        axis_name: axis of `jax.shard_map` over which the examples are sharded.
    """

    loss: Callable[[Params, Any], Scalar]
    plan: AbstractPlan
    engine: Engine = eqx.field(static=True)
    microbatch_size: int | None = eqx.field(static=True)
    axis_name: str | None = eqx.field(static=True)

    def __init__(
        self,
        loss: Callable[[Params, Any], Scalar],
        plan: AbstractPlan,
        *,
        engine: Engine = "vmap",
        microbatch_size: int | None = None,
        axis_name: str | None = None,
    ):
        if not callable(loss):
            raise TypeError(f"loss must be a callable loss(params, example), got {type(loss).__name__}.")
        if not isinstance(plan, AbstractPlan):
            raise TypeError(f"plan must be a plan, got {type(plan).__name__}; pass jt.privacy.Plan(...).")
        # What the engine does not take is told before the run, not in its first step.
        per_example(loss, engine, clipping=plan.clipping, microbatch_size=microbatch_size)
        self.loss, self.plan, self.axis_name = loss, plan, axis_name
        self.engine, self.microbatch_size = engine, microbatch_size

    def _init_inner(self, params: Params) -> Any:
        raise NotImplementedError

    def _move(self, params: Params, inner: Any, gradient: Params, count: IntScalar) -> tuple[Params, Any]:
        raise NotImplementedError

    def init(self, params: Params, key: Key[Array, ""]) -> PrivateState:
        """State before the first step; the key serves this run and no other."""
        require_key(key)
        zero = jnp.zeros((), jnp.int32)
        return PrivateState(
            plan=self.plan,
            key=key,
            count=zero,
            dropped=zero,
            nonfinite=zero,
            memory=self.plan.mechanism.init(as_wide(differentiated(params)), self.plan.steps),
            inner=self._init_inner(params),
        )

    def update(self, params: Params, state: PrivateState, data: Any) -> tuple[Params, PrivateState]:
        """One step on the whole data set, of which the plan draws the batch.

        Args:
            params: current parameters, a pytree of which the floating-point arrays are moved: an equinox module, say.
            state: state from `init` or from the step before.
            data: all examples, a pytree whose leaves have the leading axis `plan.num_examples` (or this device's equal
                share of it, under `axis_name`).

        Raises:
            ValueError: if `data` has another number of examples than planned.
        """
        draw_key, noise_key = jax.random.split(jax.random.fold_in(state.key, state.count))
        gradient, dropped, nonfinite = private_gradient(self, params, draw_key, state.count, data)
        noise, memory = self.plan.mechanism.correlate(state.memory, state.count, normal_like(noise_key, gradient))
        noisy = add_noise(gradient, self.plan.noise_scale, noise)
        # The sum comes in float32 at least, and is rounded with its noise.
        mean = lambda a, w: (a / self.plan.expected_batch).astype(w.dtype)
        noisy = jax.tree.map(mean, noisy, differentiated(params))
        params, inner = self._move(params, state.inner, noisy, state.count)
        return params, PrivateState(
            plan=state.plan,
            key=state.key,
            count=state.count + 1,
            dropped=state.dropped + dropped,
            nonfinite=state.nonfinite + nonfinite,
            memory=memory,
            inner=inner,
        )

    def run(self, params: Params, data: Any, key: Key[Array, ""]) -> tuple[Params, PrivateState]:
        """All planned steps from `params`, one program under `equinox.filter_jit`; raises what `update` raises."""
        arrays, static = eqx.partition(params, eqx.is_array)

        def body(carry: tuple[Params, PrivateState], _: None) -> tuple[tuple[Params, PrivateState], None]:
            arrays, state = carry
            new, state = self.update(eqx.combine(arrays, static), state, data)
            return (eqx.filter(new, eqx.is_array), state), None

        start = (arrays, self.init(params, key))
        (arrays, state), _ = jax.lax.scan(body, start, None, length=self.plan.steps)
        return eqx.combine(arrays, static), state


class AbstractPrivateDescent(AbstractPrivateMethod):
    """Shared by the methods that hand their noisy gradients to an optimizer.

    Attributes:
        optimizer: optax transformation that makes steps of gradients; it costs no privacy.
    """

    optimizer: optax.GradientTransformation

    def __init__(
        self,
        loss: Callable[[Params, Any], Scalar],
        plan: AbstractPlan,
        optimizer: optax.GradientTransformation,
        **engine: Any,
    ):
        super().__init__(loss, plan, **engine)
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                f"optimizer must be an optax transformation, got {type(optimizer).__name__}; pass optax.sgd(0.1)."
            )
        self.optimizer = optimizer

    def _init_inner(self, params: Params) -> Any:
        return self.optimizer.init(differentiated(params))

    def _move(self, params: Params, inner: Any, gradient: Params, count: IntScalar) -> tuple[Params, Any]:
        return descend(self.optimizer, gradient, inner, params)


def differentiated(params: Params) -> Params:
    """The floating-point arrays of a pytree, None in place of what is not moved."""
    return eqx.filter(params, eqx.is_inexact_array)
