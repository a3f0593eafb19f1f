from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_positive
from ..gradients._per_example import Engine
from ..mirror import AbstractMirrorMap
from ._plan_base import AbstractPlan
from ._private_method import AbstractPrivateMethod


class PrivateMirrorDescent(AbstractPrivateMethod):
    """Mirror descent on private gradients: the iterates stay in the domain, however large the noise.

    `w_new = argmin <g, w> + divergence(w, w_old) / eta`, g the clipped sum with its noise over the expected number of
    examples. The geometry only sees what was released and costs no privacy; over the simplex a step is a softmax.

    Talwar, Thakurta and Zhang, "Private empirical risk minimization beyond the worst case: the effect of the constraint
    set geometry", 2014; Amid et al., "Public data-assisted mirror descent
    for private model training", 2022.

    Args:
        loss: scalar function `loss(params, example)` of one example; nothing may mix examples.
        plan: a `Plan` or a `MatrixPlan`.
        mirror_map: the geometry, for example `mirror.NegativeEntropy()`.
        step_size: a positive number, or a schedule: a function of the number of steps taken.
        engine: "vmap", "microbatch", "ghost" or "auto", see `gradients.per_example`.
        microbatch_size: how many examples at a time, see `gradients.per_example`.
        axis_name: axis of `jax.shard_map` over which the examples are sharded evenly.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the step size is not positive; on `init`, if the start is outside of the domain; when stepping,
            if the data have another number of examples than planned.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> data = jnp.eye(3)[jnp.arange(3000) % 10 // 5]  # half of them e_0, half of them e_1
        >>> rule = jt.gradients.GlobalClip(1.5)
        >>> plan = jt.privacy.Plan.for_budget(1.0, 1e-5, num_examples=3000, steps=50, clipping=rule)
        >>> loss, simplex = lambda w, x: jnp.sum((w - x) ** 2) / 2, jt.mirror.NegativeEntropy()
        >>> method = jt.privacy.PrivateMirrorDescent(loss, plan, simplex, 1.0)
        >>> params, state = method.run(jnp.ones(3) / 3, data, jax.random.key(0))
        >>> print(params.round(1), f"{params.sum():.3f}")
        [0.5 0.5 0. ] 1.000
    """

    mirror_map: AbstractMirrorMap
    step_size: Scalar | Callable[[IntScalar], ArrayLike]

    def __init__(
        self,
        loss: Callable[[Params, Any], Scalar],
        plan: AbstractPlan,
        mirror_map: AbstractMirrorMap,
        step_size: ArrayLike | Callable[[IntScalar], ArrayLike],
        *,
        engine: Engine = "vmap",
        microbatch_size: int | None = None,
        axis_name: str | None = None,
    ):
        super().__init__(loss, plan, engine=engine, microbatch_size=microbatch_size, axis_name=axis_name)
        if not isinstance(mirror_map, AbstractMirrorMap):
            raise TypeError(
                f"mirror_map must be a mirror map, got {type(mirror_map).__name__}; pass mirror.NegativeEntropy()."
            )
        self.mirror_map = mirror_map
        if callable(step_size):
            self.step_size = step_size
        else:
            require_positive(step_size, "step_size")
            self.step_size = _tree.setting(step_size)

    def _init_inner(self, params: Params) -> Any:
        self.mirror_map.check(params)
        return self.mirror_map.center_dual(self.mirror_map.to_dual(params))

    def _move(self, params: Params, inner: Any, gradient: Params, count: IntScalar) -> tuple[Params, Any]:
        size = self.step_size(count) if callable(self.step_size) else self.step_size
        step = jnp.asarray(size).astype(_tree.dtype_of(params))
        dual = self.mirror_map.center_dual(self.mirror_map.dual_step(inner, gradient, step))
        return self.mirror_map.from_dual(dual), dual
