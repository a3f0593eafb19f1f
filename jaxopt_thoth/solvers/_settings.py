"""Checks that the settings of several solvers share."""

from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative


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
