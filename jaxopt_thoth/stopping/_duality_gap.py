import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import ArrayLike

from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative
from ..problems import AbstractProblem
from ._base import AbstractStop, Step


class DualityGap(AbstractStop):
    """Stop when the duality gap certifies that the objective is within `tol` of its minimum.

    The dual point is the residual, shrunk until it is feasible. On a cone (`NonNegative`, a `Box` open on one side) or
    without a penalty no shrinking helps, and the gap stays large: stop on `FixedPointResidual` there.

    Args:
        tol: tolerance on the gap; by default relative to the objective.
        relative: divide the gap by the absolute value of the objective.
        every: steps between two evaluations, each of which costs two products with the design matrix.

    Raises:
        ValueError: if `every` is below one.

    Example:
        >>> from jaxopt_thoth import stopping
        >>> stop = stopping.DualityGap(1e-6, every=10)
    """

    tol: Scalar
    relative: bool = eqx.field(static=True)
    every: int = eqx.field(static=True)

    def __init__(self, tol: ArrayLike, *, relative: bool = True, every: int = 10):
        require_nonnegative(tol, "tol")
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}.")
        self.tol = jnp.asarray(tol, jnp.result_type(float))
        self.relative = relative
        self.every = every

    def __call__(self, problem: AbstractProblem, step: Step) -> tuple[Scalar, BoolScalar]:
        def evaluate() -> Scalar:
            gap = problem.duality_gap(step.params)
            if not self.relative:
                return gap
            return gap / jnp.maximum(jnp.abs(problem.value(step.params)), jnp.finfo(gap.dtype).tiny)

        if self.every == 1:
            error = evaluate()
            return error, error <= self.tol.astype(error.dtype)
        due = step.num_steps % self.every == 0
        error = lax.cond(due, evaluate, lambda: step.last_error)
        return error, due & (error <= self.tol.astype(error.dtype))
