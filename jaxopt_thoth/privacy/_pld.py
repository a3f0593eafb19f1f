"""Accounting by privacy loss distributions, which the dp-accounting library computes."""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from .._validate import concrete
from ..gradients._relation import NeighboringRelation
from ._rdp_arithmetic import arithmetic
from ._rdp_best import best_delta, best_epsilon, ORDERS
from ._rdp_releases import composed_rdp


# Of the discretized losses; every interval gives an upper bound, and this one four digits of it.
_INTERVAL = 1e-4
_ROUGH_DELTA = 1e-10


def pld_epsilon(
    sampling_rate: ArrayLike, noise_multiplier: ArrayLike, steps: ArrayLike, delta: ArrayLike, relation: Any
) -> float:
    """Epsilon of the composition of the releases, by a pessimistic discretization."""
    composed = _composed(sampling_rate, noise_multiplier, steps, relation)
    if isinstance(composed, float):
        return composed
    # The discretization adds up over very many releases: both are bounds, and the smaller one is one.
    bound = float(composed.get_epsilon(_scalar(delta, "delta")))
    return min(bound, _rdp_bound(best_epsilon, sampling_rate, noise_multiplier, steps, delta, relation))


def pld_delta(
    sampling_rate: ArrayLike, noise_multiplier: ArrayLike, steps: ArrayLike, epsilon: ArrayLike, relation: Any
) -> float:
    """Delta of the composition of the releases, by a pessimistic discretization."""
    composed = _composed(sampling_rate, noise_multiplier, steps, relation)
    if isinstance(composed, float):
        return min(composed, 1.0)
    bound = float(composed.get_delta(_scalar(epsilon, "epsilon")))
    return min(bound, _rdp_bound(best_delta, sampling_rate, noise_multiplier, steps, epsilon, relation))


def _rdp_bound(convert: Callable[..., Any], rate: Any, noise: Any, steps: Any, given: Any, relation: Any) -> float:
    if relation is NeighboringRelation.replace_one and not np.all(np.asarray(rate) == 1):
        return float("inf")
    ops = arithmetic(0.0)
    return float(convert(ops, ORDERS, composed_rdp(ops, rate, noise, steps), np.float64(_scalar(given, "it"))))


def _scalar(value: ArrayLike, name: str) -> float:
    known = concrete(value)
    if known is None or known.size != 1:
        raise ValueError(f"{name} must be one known number for accountant 'pld', got {value}.")
    return float(known.reshape(()))


def _composed(sampling_rate: ArrayLike, noise_multiplier: ArrayLike, steps: ArrayLike, relation: Any) -> Any:
    """The accountant of dp-accounting after the releases; a float where the answer needs none: zero or infinity."""
    rows = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (sampling_rate, noise_multiplier, steps)))
    if rows[0].ndim > 1:
        raise ValueError(f"accountant 'pld' takes scalars or vectors of releases, got the shape {rows[0].shape}.")
    kept = [(q, s, t) for q, s, t in zip(*(row.reshape(-1) for row in rows)) if q > 0 and t > 0 and not np.isinf(s)]
    if any(t != round(t) for _, _, t in kept):
        raise ValueError(f"steps must be whole numbers for accountant 'pld', got {steps}; round up.")
    if not kept:
        return 0.0
    ops = arithmetic(0.0)
    # The grid of a loss of thousands would not fit into memory, and four digits of it are not asked for. Under the
    # relation that replaces, the divergence of an unsampled release of the same noise bounds its size.
    rates = [1.0 if relation is NeighboringRelation.replace_one else q for q, _, _ in kept]
    rdp = composed_rdp(ops, rates, [s for _, s, _ in kept], [t for _, _, t in kept])
    rough = float(best_epsilon(ops, ORDERS, rdp, np.float64(_ROUGH_DELTA)))
    if not np.isfinite(rough):
        return float("inf")
    return _accountant(kept, _INTERVAL * max(1.0, rough / 100), relation)


def _accountant(releases: Iterable[tuple[float, float, float]], interval: float, relation: Any) -> Any:
    library = _library()
    neighbors = getattr(library.NeighboringRelation, relation.name.upper())
    accountant = library.pld.PLDAccountant(neighbors, value_discretization_interval=interval)
    for rate, noise, steps in releases:
        # There the noise is counted in contributions, here in sensitivities.
        event = library.GaussianDpEvent(noise * relation.contributions)
        if rate < 1:
            event = library.PoissonSampledDpEvent(rate, event)
        accountant.compose(event, int(steps))
    return accountant


def _library() -> ModuleType:
    try:
        import dp_accounting
    except ImportError as error:
        raise ImportError(
            "accountant 'pld' needs dp-accounting: pip install jaxopt_thoth[privacy], or pass accountant='rdp'."
        ) from error
    return dp_accounting
