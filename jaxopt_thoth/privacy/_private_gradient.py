from typing import Any, TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._types import IntScalar, Params
from ..gradients import per_example


if TYPE_CHECKING:
    from ._private_method import AbstractPrivateMethod


def private_gradient(
    method: "AbstractPrivateMethod", params: Params, key: Key[Array, ""], count: IntScalar, data: Any
) -> tuple[Params, IntScalar, IntScalar]:
    """Sum of the clipped gradients of the step's batch, with the numbers of examples left out and of bad gradients."""
    plan = method.plan
    rows, shard = _rows(data, plan.num_examples, method.axis_name)
    index, mask, dropped = plan.draw(key, count, rows, shard)
    clipped_sum = per_example(
        method.loss,
        method.engine,
        clipping=plan.clipping,
        microbatch_size=method.microbatch_size,
        axis_name=method.axis_name,
    )
    if plan.takes_all:
        result = clipped_sum(params, data)
    else:
        result = clipped_sum(params, jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], data), mask=mask)
        if method.axis_name is not None:
            dropped = jax.lax.psum(dropped, method.axis_name)
    return result.total, dropped, result.num_nonfinite.astype(jnp.int32)


def _rows(data: Any, num_examples: int, axis_name: str | None) -> tuple[int, IntScalar]:
    lengths = {leaf.shape[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(data)}
    shards = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    if {length * shards for length in lengths} != {num_examples}:
        share = "" if shards == 1 else f" / {shards} devices"
        raise ValueError(
            f"data must have a leading axis of the {num_examples}{share} examples that were planned, got lengths "
            f"{sorted(lengths)}; pass all of the data, since the plan draws the batches."
        )
    shard = jnp.zeros((), jnp.int32) if axis_name is None else jax.lax.axis_index(axis_name)
    return lengths.pop(), shard
