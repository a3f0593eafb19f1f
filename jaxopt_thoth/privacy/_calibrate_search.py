"""The least noise that meets a target."""

import math
from collections.abc import Callable

import scipy.optimize
from jaxtyping import ArrayLike

from .._validate import concrete


MOST_NOISE = 1e12
_LEAST = 1e-12
_CAP = 100.0


def least_noise(loss: Callable[[float], float], target: float, tolerance: float, guess: float = 1.0) -> float:
    """The least noise multiplier with `loss <= target`, from above within a relative `tolerance`.

    `loss` decreases in the noise; the search for a bracket starts around `guess`, and zero noise is not tried.
    Raises `ValueError` where no noise up to 1e12 meets it.
    """
    high, factor = guess, 1.25
    while not loss(high) <= target:
        high, factor = high * factor, min(factor**2, 4.0)
        if high > MOST_NOISE:
            raise ValueError(f"no noise multiplier up to {MOST_NOISE:g} meets the target {target:g}; relax the target.")
    low = high / factor
    while loss(low) <= target:
        factor = min(factor**2, 4.0)
        high, low = low, low / factor
        if low < _LEAST:
            return high

    def miss(log_noise: float) -> float:
        value = loss(math.exp(log_noise))
        if not 0 < value < math.inf:
            # These only tell the side.
            return _CAP if value > 0 else -_CAP
        # Logarithms bend least.
        return min(max(math.log(value / target), -_CAP), _CAP)

    root = math.exp(scipy.optimize.brentq(miss, math.log(low), math.log(high), xtol=tolerance / 2, rtol=1e-14))
    while loss(root) > target:
        root *= 1 + tolerance / 2
    return min(root, high)


def known_number(value: ArrayLike, name: str) -> float:
    """The value as a float; raises `TypeError` for one that is traced, `ValueError` for an array."""
    known = concrete(value)
    if known is None:
        raise TypeError(f"{name} is being traced by jit, vmap or grad, and calibration searches; call it outside.")
    if known.size != 1:
        raise ValueError(f"{name} must be one number, got the shape {known.shape}; calibrate one at a time.")
    return float(known.reshape(()))
