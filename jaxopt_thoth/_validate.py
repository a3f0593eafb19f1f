"""Checks of arguments that raise at call time, and stay silent on traced values."""

from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike


def concrete(value: ArrayLike) -> np.ndarray | None:
    """The value as a NumPy array, or None where it cannot be checked: traced, or partly on other processes."""
    if isinstance(value, jax.core.Tracer) or (isinstance(value, jax.Array) and not value.is_fully_addressable):
        return None
    return np.asarray(value)


def known_leaves(value: Any) -> list[np.ndarray]:
    """The leaves of a pytree that are not being traced, as NumPy arrays."""
    return [known for leaf in jax.tree.leaves(value) if (known := concrete(leaf)) is not None]


def require_nonnegative(value: Any, name: str) -> None:
    """Raise `ValueError` unless every known entry of `value` is at least zero."""
    for known in known_leaves(value):
        if not np.all(known >= 0):
            raise ValueError(f"{name} must be nonnegative, got {known}; pass a value >= 0.")


def require_positive(value: Any, name: str) -> None:
    """Raise `ValueError` unless every known entry of `value` is above zero."""
    for known in known_leaves(value):
        if not np.all(known > 0):
            raise ValueError(f"{name} must be positive, got {known}; pass a value > 0.")


def require_ordered(lower: ArrayLike, upper: ArrayLike) -> None:
    """Raise `ValueError` unless every known entry of `lower` is at most that of `upper`."""
    low, high = concrete(lower), concrete(upper)
    if low is not None and high is not None and not np.all(low <= high):
        raise ValueError(f"lower must not exceed upper, got {low} and {high}; swap them or widen the box.")
