"""What a solve returns: the solution, how it was reached, and whether to trust it."""

from typing import Any

import equinox as eqx
from jaxtyping import Array

from ._types import IntScalar, Params, Scalar, State


def _member(message: str) -> Any:
    """The text of a member, which the enumeration turns into an item of its own type."""
    return message


class RESULTS(eqx.Enumeration):
    """How a solve ended; compare with `==`, entry by entry under `vmap`; `RESULTS[result]` is the message."""

    converged: "RESULTS" = _member("The stopping criterion was met.")
    max_steps_reached: "RESULTS" = _member(
        "The solver reached its maximum number of steps before the stopping criterion was met; "
        "raise `max_steps`, loosen `tol`, or rescale the problem."
    )
    nonfinite: "RESULTS" = _member(
        "A step produced a non-finite value, and the last finite iterate is returned; "
        "check the data for NaN, or lower the step size."
    )
    diverged: "RESULTS" = _member(
        "The residual grew without bound; lower the step size or leave it to the line search."
    )
    infeasible: "RESULTS" = _member(
        "The constraint set is empty, or the objective is unbounded below on it or not finite at the starting point."
    )


class History(eqx.Module):
    """Values after each step, of length `max_steps`, padded with NaN past the last step taken.

    Attributes:
        value: objective after each step.
        error: stopping criterion after each step.
    """

    value: Array
    error: Array


class Solution(eqx.Module):
    """The outcome of a solve; under `vmap` every field gains the batch axis.

    Attributes:
        params: the solution, with derivatives in the problem as the adjoint provides them.
        state: the solver's state after the last step, to continue from.
        num_steps: number of steps taken.
        error: value of the stopping criterion at `params`.
        result: a member of `RESULTS`; compare with `solution.result == RESULTS.converged`.
        history: per-step record when it was asked for, else None.
    """

    params: Params
    state: State
    num_steps: IntScalar
    error: Scalar
    result: RESULTS
    history: History | None = None
