from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


class Packed(eqx.Module):
    """Any pytree as one whose leaves are arrays: what is not an array (activations, flags) becomes structure.

    A network is then a carry of `lax.scan` and an argument of `jax.jit` and `jax.vmap` as it stands.
    """

    arrays: list[Array | None]
    static: tuple[Any, ...] = eqx.field(static=True)

    def __init__(self, tree: Any):
        leaves, structure = jax.tree.flatten(tree)
        self.arrays = [leaf if eqx.is_array(leaf) else None for leaf in leaves]
        self.static = (structure, tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves))

    @property
    def tree(self) -> Any:
        structure, others = self.static
        leaves = [other if array is None else array for array, other in zip(self.arrays, others)]
        return jax.tree.unflatten(structure, leaves)


def float_leaves_as_arrays(tree: Any) -> Any:
    """Python floats and NumPy arrays among the leaves become arrays of JAX; every other leaf is left alone."""
    foreign = (float, np.ndarray, np.floating)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, foreign) else leaf, tree)
