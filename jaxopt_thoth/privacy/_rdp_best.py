"""Conversion of a curve of Rényi divergences, minimized over its orders, in a given arithmetic."""

from typing import Any, Literal

import numpy as np

from ._rdp_arithmetic import Arithmetic


Conversion = Literal["improved", "classical"]

# Dense where the best orders of private training lie, and as dense as that of dp-accounting.
ORDERS = np.concatenate([1 + np.arange(1, 100) / 10, np.arange(11.0, 64.0), [128.0, 256.0, 512.0, 1024.0]])
# Nearer to one the improved conversion cancels.
_LEAST_EXCESS = 0.01


def check_conversion(conversion: str) -> None:
    if conversion not in ("improved", "classical"):
        raise ValueError(f'conversion must be "improved" or "classical", got {conversion!r}.')


def best_epsilon(ops: Arithmetic, orders: Any, rdp: Any, delta: Any, conversion: Conversion = "improved") -> Any:
    """Least epsilon over the last axis of `rdp`; `delta` broadcasts against the other axes."""
    return ops.xp.min(epsilons(ops, orders, rdp, delta, conversion), axis=-1)


def epsilons(ops: Arithmetic, orders: Any, rdp: Any, delta: Any, conversion: Conversion = "improved") -> Any:
    """Epsilon by each of the orders."""
    xp = ops.xp
    orders, rdp, log_delta = _one_rank(ops.array(orders), rdp, xp.log(delta)[..., None])
    excess = orders - 1.0
    gain = 0.0
    if conversion == "improved":
        stable = xp.where(excess > _LEAST_EXCESS, orders, 2.0)
        gain = xp.where(excess > _LEAST_EXCESS, xp.log(stable) / (stable - 1.0) - xp.log1p(-1.0 / stable), 0.0)
    epsilon = rdp - log_delta / excess - gain
    if conversion == "improved":
        # Total variation is at most sqrt(1 - exp(-rdp)), by Bretagnolle and Huber.
        epsilon = xp.where(2 * log_delta > _log_variation(xp, rdp), 0.0, epsilon)
    return xp.maximum(epsilon, 0.0)


def best_delta(ops: Arithmetic, orders: Any, rdp: Any, epsilon: Any, conversion: Conversion = "improved") -> Any:
    """Least delta over the last axis of `rdp`; `epsilon` broadcasts against the other axes."""
    xp = ops.xp
    orders, rdp, target = _one_rank(ops.array(orders), rdp, epsilon[..., None])
    excess = orders - 1.0
    log_delta = excess * (rdp - target)
    if conversion == "improved":
        log_delta = log_delta + excess * xp.log1p(-1.0 / orders) - xp.log(orders)
        log_delta = xp.minimum(log_delta, 0.5 * _log_variation(xp, rdp))
    return xp.exp(xp.minimum(xp.min(log_delta, axis=-1), 0.0))


def _log_variation(xp: Any, rdp: Any) -> Any:
    some = rdp > 0
    return xp.where(some, xp.log(-xp.expm1(-xp.where(some, rdp, 1.0))), -xp.inf)


def _one_rank(*parts: Any) -> list[Any]:
    rank = max(part.ndim for part in parts)
    return [part.reshape((1,) * (rank - part.ndim) + part.shape) for part in parts]
