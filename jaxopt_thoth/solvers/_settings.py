"""Checks that the settings of several solvers share."""

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative, require_positive


def tolerance_setting(tol: ArrayLike | None) -> Scalar | None:
    """`tol` as a leaf, or None for the default of the dtype; raises `ValueError` where it is negative."""
    if tol is None:
        return None
    require_nonnegative(tol, "tol")
    return _tree.setting(tol)


def count_setting(value: int, name: str, least: int = 0) -> int:
    """A static count; raises `ValueError` below `least`."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}; pass a larger integer.")
    return value


def refuse_unrolling(name: str) -> ValueError:
    """The error of a method whose line search reverse mode cannot pass."""
    return ValueError(
        f"{name} has no unrolled derivative, since its line search is a loop of unknown length; differentiate its "
        "solution with implicit.Implicit(), the default, or unroll ProximalGradient()."
    )


def check_settings(shrink: ArrayLike, growth: ArrayLike, tol: ArrayLike | None, max_steps: int) -> None:
    """Raise `ValueError` for a setting of a search or a loop that is out of range."""
    default = jnp.result_type(float)
    require_positive(shrink, "shrink")
    require_positive(1 - jnp.asarray(shrink, default), "1 - shrink")
    require_nonnegative(jnp.asarray(growth, default) - 1, "growth - 1")
    if tol is not None:
        require_nonnegative(tol, "tol")
    if max_steps < 0:
        raise ValueError(f"max_steps must be nonnegative, got {max_steps}.")
