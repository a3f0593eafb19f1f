"""Checks of a number of entries that is part of the structure."""

import numpy as np
from jaxtyping import Array


def require_count(k: int) -> int:
    """`k` as a Python integer; raises unless it is a positive one."""
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k must be a positive integer known while tracing, got {k}; pass a Python int >= 1.")
    return int(k)


def require_entries(x: Array, k: int) -> None:
    """Raise unless `x` is a vector of at least `k` entries."""
    if x.ndim != 1 or x.size < k:
        raise ValueError(f"x must be a vector of at least k = {k} entries, got shape {x.shape}; flatten it or lower k.")
