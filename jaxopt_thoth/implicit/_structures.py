from typing import Any

import jax
import jax.numpy as jnp


def require_same_structure(found: Any, expected: Any, name: str, expected_name: str, *, shapes: bool = True) -> None:
    """Raise `ValueError` unless two pytrees have the same structure, and (by default) leaves of the same shapes."""
    here, there = str(jax.tree.structure(found)), str(jax.tree.structure(expected))
    if here != there:
        raise ValueError(f"{name} must have the structure of {expected_name}, got {here} for {there}.")
    sizes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (found, expected)]
    if shapes and sizes[0] != sizes[1]:
        raise ValueError(f"{name} must have the shapes of {expected_name}, got {sizes[0]} for {sizes[1]}.")
