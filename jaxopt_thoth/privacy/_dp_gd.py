from collections.abc import Callable
from typing import Any

import optax

from .._types import Params, Scalar
from ..gradients._per_example import Engine
from ._plan import Plan
from ._private_method import AbstractPrivateDescent


class DPGD(AbstractPrivateDescent):
    """Differentially private gradient descent on all examples, over any optax optimizer.

    `DPSGD` without sampling: T steps of noise multiplier sigma cost as much as one of sigma / sqrt(T), exactly.

    Song, Chaudhuri and Sarwate, "Stochastic gradient descent with differentially private updates", 2013.

    Args:
        loss: scalar function `loss(params, example)` of one example; nothing may mix examples.
        plan: a `Plan` with `sampling_rate=1`.
        optimizer: optax transformation, for example `optax.sgd(0.1, momentum=0.9)`.
        engine: "vmap", "microbatch", "ghost" or "auto", see `gradients.per_example`.
        microbatch_size: how many examples at a time, see `gradients.per_example`.
        axis_name: axis of `jax.shard_map` over which the examples are sharded evenly.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the plan samples; when stepping, if the data have another number of examples than planned.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt, optax
        >>> rule = jt.gradients.GlobalClip(1.0)
        >>> plan = jt.privacy.Plan.for_budget(1.0, 1e-5, num_examples=2000, steps=50, clipping=rule)
        >>> method = jt.privacy.DPGD(lambda w, x: (w - x) ** 2 / 2, plan, optax.sgd(0.2))
        >>> params, state = method.run(jnp.array(0.0), jnp.full(2000, 0.5), jax.random.key(0))
        >>> print(f"{params:.1f} {plan.epsilon(1e-5, state):.1f}")
        0.5 1.0
    """

    def __init__(
        self,
        loss: Callable[[Params, Any], Scalar],
        plan: Plan,
        optimizer: optax.GradientTransformation,
        *,
        engine: Engine = "vmap",
        microbatch_size: int | None = None,
        axis_name: str | None = None,
    ):
        super().__init__(loss, plan, optimizer, engine=engine, microbatch_size=microbatch_size, axis_name=axis_name)
        if not isinstance(plan, Plan):
            raise TypeError(f"plan must be a privacy.Plan, got {type(plan).__name__}; DPFTRL takes a MatrixPlan.")
        if plan.sampling_rate != 1:
            raise ValueError(f"DPGD takes all examples, and the plan samples {plan.sampling_rate} of them; use DPSGD.")
