from collections.abc import Callable
from typing import Any

import optax

from .._types import Params, Scalar
from ..gradients._per_example import Engine
from ._plan import Plan
from ._private_method import AbstractPrivateDescent


class DPSGD(AbstractPrivateDescent):
    """Differentially private stochastic gradient descent, over any optax optimizer.

    A step draws a Poisson sample, clips the gradient of each of its examples, adds noise to their sum, divides by the
    expected number of examples, and leaves the rest to the optimizer. `plan.epsilon(delta, state)` is the bound of the
    run. Data that are sharded over a mesh axis give the same steps as on one device, up to rounding, if the key and
    the parameters are replicated: clipped sums are added up over `axis_name`, and the noise is added once.

    Abadi et al., "Deep learning with differential privacy", 2016.

    Args:
        loss: scalar function `loss(params, example)` of one example; nothing may mix examples.
        plan: a `Plan`.
        optimizer: optax transformation, for example `optax.adam(1e-2)`.
        engine: "vmap", "microbatch", "ghost" or "auto", see `gradients.per_example`.
        microbatch_size: how many examples at a time, see `gradients.per_example`.
        axis_name: axis of `jax.shard_map` over which the examples are sharded evenly.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: when stepping, if the data have another number of examples than planned.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt, optax
        >>> rule, sizes = jt.gradients.GlobalClip(1.0), dict(num_examples=5000, sampling_rate=0.05, steps=200)
        >>> plan = jt.privacy.Plan.for_budget(2.0, 1e-5, clipping=rule, **sizes)
        >>> method = jt.privacy.DPSGD(lambda w, x: (w - x) ** 2 / 2, plan, optax.sgd(0.1))
        >>> data = 0.5 + 0.1 * jax.random.normal(jax.random.key(1), (5000,))
        >>> params, state = method.run(jnp.array(0.0), data, jax.random.key(2))
        >>> print(f"{params:.1f} {plan.epsilon(1e-5, state):.1f}")
        0.5 2.0
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
