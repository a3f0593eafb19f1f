"""What a report says of a run besides its arrays."""

import platform
from importlib.metadata import version
from typing import Any

from .._result import RESULTS


OUTCOMES = ("converged", "max_steps_reached", "nonfinite", "diverged", "infeasible")


def versions() -> dict[str, str]:
    """The versions that decide whether a report can be repeated."""
    packages = ("jaxopt_thoth", "jax", "jaxlib", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def result_name(result: Any) -> str:
    """The name of a member of `RESULTS`; None, of a method that always succeeds, counts as `converged`."""
    if result is None:
        return "converged"
    return next((name for name in OUTCOMES if bool(result == getattr(RESULTS, name))), "unknown")
