import jax.numpy as jnp

from .._types import BoolScalar, Scalar
from ..problems import AbstractProblem
from ._base import Step
from ._combination import AbstractCombination


class AllOf(AbstractCombination):
    """Stop when every one of several criteria is met; the error is the largest one in units of its tolerance.

    Raises:
        TypeError: if no criterion is given.

    Example:
        >>> from jaxopt_thoth import stopping
        >>> stop = stopping.AllOf(stopping.RelativeChange(1e-9), stopping.FixedPointResidual(1e-6))
    """

    def __call__(self, problem: AbstractProblem, step: Step) -> tuple[Scalar, BoolScalar]:
        errors, done = self.verdicts(problem, step)
        return jnp.max(errors), jnp.all(done)
