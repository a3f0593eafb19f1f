"""Checks of arguments that raise at call time, and stay silent on traced values."""

import jax
import numpy as np
from jaxtyping import ArrayLike


def concrete(value: ArrayLike) -> np.ndarray | None:
    """The value as a NumPy array, or None while it is being traced (then it cannot be checked)."""
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)


def require_nonnegative(value: ArrayLike, name: str) -> None:
    """Raise `ValueError` unless every known entry of `value` is at least zero."""
    known = concrete(value)
    if known is not None and not np.all(known >= 0):
        raise ValueError(f"{name} must be nonnegative, got {known}; pass a value >= 0.")


def require_positive(value: ArrayLike, name: str) -> None:
    """Raise `ValueError` unless every known entry of `value` is above zero."""
    known = concrete(value)
    if known is not None and not np.all(known > 0):
        raise ValueError(f"{name} must be positive, got {known}; pass a value > 0.")
