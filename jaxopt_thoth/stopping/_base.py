import equinox as eqx

from .._types import BoolScalar, IntScalar, Params, Scalar
from ..problems import AbstractProblem


class Step(eqx.Module):
    """What a stopping criterion sees after a step.

    Attributes:
        params: the new iterate.
        previous: the iterate before it.
        solver_error: the solver's own error at the new iterate.
        num_steps: number of steps taken, this one included.
        last_error: what the criterion returned at its last evaluation; infinite before the first.
    """

    params: Params
    previous: Params
    solver_error: Scalar
    num_steps: IntScalar
    last_error: Scalar


class AbstractStop(eqx.Module):
    """Decides when a solver may stop; `tol` is an array leaf, so that it can be batched."""

    tol: eqx.AbstractVar[Scalar]

    def __call__(self, problem: AbstractProblem, step: Step) -> tuple[Scalar, BoolScalar]:
        """The error, in the units of `tol`, and whether the solve is done."""
        raise NotImplementedError
