"""Divergences of many releases of subsampled Gaussian mechanisms, and the checks of their arguments."""

from typing import Any, get_args, Literal

import jax
import numpy as np
from jaxtyping import ArrayLike

from .._validate import concrete, require_nonnegative
from ..gradients._relation import NeighboringRelation
from ._rdp_arithmetic import Arithmetic, require_within
from ._rdp_best import ORDERS
from ._rdp_subsampled_gaussian import gaussian_rdp


Accountant = Literal["rdp", "pld"]


def check_releases(
    sampling_rate: ArrayLike,
    noise_multiplier: ArrayLike,
    steps: ArrayLike,
    accountant: str,
    relation: NeighboringRelation,
) -> None:
    require_within(sampling_rate, "sampling_rate", 0, 1, closed=True)
    require_nonnegative(noise_multiplier, "noise_multiplier")
    require_nonnegative(steps, "steps")
    if accountant not in get_args(Accountant):
        raise ValueError(f'accountant must be "rdp" or "pld", got {accountant!r}.')
    if not isinstance(relation, NeighboringRelation):
        raise TypeError(f"relation must be a gradients.NeighboringRelation, got {relation!r}.")
    known = concrete(sampling_rate)
    whole = known is not None and np.all((known == 0) | (known == 1))
    if accountant == "rdp" and relation is NeighboringRelation.replace_one and not whole:
        raise ValueError(
            "relation replace_one has no Rényi accountant under Poisson sampling; pass accountant='pld', "
            "the relation add_or_remove_one, or sampling_rate 1."
        )
    if accountant == "pld" and any(concrete(value) is None for value in (sampling_rate, noise_multiplier, steps)):
        raise TypeError(
            "accountant 'pld' works on known numbers only, and these are being traced by jit, vmap or grad; "
            "call it outside, or pass accountant='rdp'."
        )


def repeated_rdp(ops: Arithmetic, sampling_rate: Any, noise_multiplier: Any, steps: Any) -> Any:
    """Divergences `(*batch, orders)` of `steps` equal releases."""
    batch = np.broadcast_shapes(*(np.shape(value) for value in (sampling_rate, noise_multiplier, steps)))
    wide = lambda value: ops.xp.broadcast_to(ops.array(value), batch)[..., None]
    orders = np.broadcast_to(ORDERS, (*batch, ORDERS.size))
    spread = lambda value: ops.xp.broadcast_to(wide(value), orders.shape)
    rdp = gaussian_rdp(ops, orders, spread(sampling_rate), spread(noise_multiplier))
    count = spread(steps)
    # No release is no loss, whatever a release would cost.
    return ops.xp.where(count > 0, ops.xp.where(count > 0, count, 1.0) * rdp, 0.0)


def composed_rdp(ops: Arithmetic, sampling_rates: Any, noise_multipliers: Any, steps: Any) -> Any:
    """Divergences `(orders,)` of releases that differ, one after the other to bound the memory."""
    shape = np.broadcast_shapes(*(np.shape(value) for value in (sampling_rates, noise_multipliers, steps)))
    if len(shape) > 1:
        raise ValueError(f"releases must be scalars or vectors, got the shape {shape}; compose one vector at a time.")
    size = shape[0] if shape else 1
    rows = ops.xp.stack(
        [ops.xp.broadcast_to(ops.array(v), (size,)) for v in (sampling_rates, noise_multipliers, steps)]
    )
    if ops.xp is np:
        kinds, counts = np.unique(rows, axis=1, return_counts=True)
        return sum((repeated_rdp(ops, q, s, t * n) for q, s, t, n in zip(*kinds, counts)), np.zeros(ORDERS.size))
    return jax.lax.map(lambda row: repeated_rdp(ops, row[0], row[1], row[2]), rows.T).sum(0)
