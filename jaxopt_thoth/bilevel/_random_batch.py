"""Batches drawn from data whose leading axis is that of the examples."""

from typing import Any

import jax
from jaxtyping import Array, Key


def num_examples(data: Any) -> int:
    """Length of the leading axis of all leaves."""
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"the leaves of a batch must be arrays with one leading axis in common, got lengths "
            f"{sorted(lengths)}; the leading axis is that of the examples."
        )
    return lengths.pop()[0]


def random_batch(data: Any, batch_size: int, key: Key[Array, ""]) -> Any:
    """`batch_size` examples drawn without replacement."""
    size = num_examples(data)
    if not 0 < batch_size <= size:
        raise ValueError(f"batch_size must be between 1 and the {size} examples, got {batch_size}; pass a smaller one.")
    rows = jax.random.choice(key, size, (batch_size,), replace=False)
    return jax.tree.map(lambda leaf: leaf[rows], data)
