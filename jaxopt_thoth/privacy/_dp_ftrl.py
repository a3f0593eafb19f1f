from collections.abc import Callable
from typing import Any

import optax

from .._types import Params, Scalar
from ..gradients._per_example import Engine
from ._plan_matrix import MatrixPlan
from ._private_method import AbstractPrivateDescent


class DPFTRL(AbstractPrivateDescent):
    """Private gradient descent with correlated noise (follow the regularized leader), over any optax optimizer.

    What a step adds is in good part taken back by the next ones, so that the sum of the noise, which is what moves the
    parameters, stays small; and no example has to be sampled. With `optax.sgd` these are the steps of follow the
    regularized leader on the noisy running sums; any optimizer sees nothing but what was released.

    Kairouz, McMahan, Song, Thakkar, Thakurta and Xu, "Practical and private (deep) learning without sampling or
    shuffling", 2021.

    Args:
        loss: scalar function `loss(params, example)` of one example; nothing may mix examples.
        plan: a `MatrixPlan`, in the order of which the data are passed over.
        optimizer: optax transformation, for example `optax.sgd(0.1, momentum=0.9)`.
        engine: "vmap", "microbatch", "ghost" or "auto", see `gradients.per_example`.
        microbatch_size: how many examples at a time, see `gradients.per_example`.
        axis_name: axis of `jax.shard_map` over which the examples are sharded evenly.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: when stepping, if the data have another number of examples than planned.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt, optax
        >>> settings = dict(num_examples=5000, batch_size=250, steps=40, clipping=jt.gradients.GlobalClip(1.0))
        >>> plan = jt.privacy.MatrixPlan.for_budget(2.0, 1e-5, mechanism=jt.privacy.Banded(8), **settings)
        >>> method = jt.privacy.DPFTRL(lambda w, x: (w - x) ** 2 / 2, plan, optax.sgd(0.2))
        >>> params, state = method.run(jnp.array(0.0), jnp.full(5000, 0.5), jax.random.key(0))
        >>> print(f"{params:.1f} {plan.epsilon(1e-5, state):.1f}")
        0.5 2.0
    """

    def __init__(
        self,
        loss: Callable[[Params, Any], Scalar],
        plan: MatrixPlan,
        optimizer: optax.GradientTransformation,
        *,
        engine: Engine = "vmap",
        microbatch_size: int | None = None,
        axis_name: str | None = None,
    ):
        super().__init__(loss, plan, optimizer, engine=engine, microbatch_size=microbatch_size, axis_name=axis_name)
        if not isinstance(plan, MatrixPlan):
            raise TypeError(f"plan must be a privacy.MatrixPlan, got {type(plan).__name__}; DPSGD takes a Plan.")
