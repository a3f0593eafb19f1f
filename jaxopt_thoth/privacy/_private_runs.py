from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from .._types import IntScalar
from .._validate import concrete
from ._private_error import PrivacyError


def check_runs(
    steps: int, expected: Any, runs: Sequence[tuple[Any, Key[Array, "..."], IntScalar, IntScalar | None]]
) -> int:
    """How many runs the states stand for (those of a batch count one by one), of which none may break the bound.

    Args:
        steps: number of steps that were accounted for.
        expected: the settings that were accounted for, a pytree.
        runs: of each state the settings of its run, its key, its number of steps and of examples left out.

    Raises:
        PrivacyError: if one took other settings, more steps, or left out examples, or two have the same key.
    """
    keys: list[tuple[int, ...]] = []
    for settings, key, count, dropped in runs:
        _check_settings(settings, expected)
        _check_count(_known(count), steps)
        if dropped is not None and (lost := _known(dropped).sum()):
            raise PrivacyError(
                f"{lost} drawn examples did not fit in their batch and were left out, so that the batches are no "
                "Poisson samples; run again with another key and a larger capacity."
            )
        rows = _known(jax.random.key_data(key))
        keys += [tuple(row.tolist()) for row in rows.reshape(-1, rows.shape[-1])]
    if len(set(keys)) < len(keys):
        raise PrivacyError(
            "two runs have the same key, and so the same noise, which their difference takes away; start each from a "
            "key of its own, with jax.random.split."
        )
    return len(keys)


def _known(value: Array) -> np.ndarray:
    known = concrete(value)
    if known is None:
        raise PrivacyError("whether a run kept to its plan is not known under jit or vmap; ask after it, outside.")
    return known


def _check_count(count: np.ndarray, steps: int) -> None:
    if count.size and count.max() > steps:
        planned = f"{steps} were" if steps != 1 else "1 was"
        raise PrivacyError(
            f"the run took {count.max()} steps, and {planned} planned; plan as many as are taken, before the first."
        )


def _check_settings(settings: Any, expected: Any) -> None:
    ran: Any = jax.tree.structure(settings)
    same = ran == jax.tree.structure(expected)
    if same:
        pairs = zip(jax.tree.leaves(settings), jax.tree.leaves(expected), strict=True)
        same = all(bool(np.all(_known(a) == _known(b))) for a, b in pairs)
    if not same:
        raise PrivacyError("the run had other settings than these; ask the plan that the method was built with.")
