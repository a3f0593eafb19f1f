import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative, require_positive
from ..problems import AbstractProblem
from ._base import AbstractStop, Step


class FixedPointResidual(AbstractStop):
    """Stop when the norm of the prox-gradient residual `|w - prox_s(w - s grad f(w))| / s` is at most `tol`.

    It costs one evaluation of the gradient a step, and does not depend on the solver.

    Args:
        tol: absolute tolerance, in units of a gradient.
        step: the step s of the residual.

    Example:
        >>> from jaxopt_thoth import stopping
        >>> stop = stopping.FixedPointResidual(1e-6)
    """

    tol: Scalar
    step: Scalar

    def __init__(self, tol: ArrayLike, step: ArrayLike = 1.0):
        require_nonnegative(tol, "tol")
        require_positive(step, "step")
        self.tol = jnp.asarray(tol, jnp.result_type(float))
        self.step = jnp.asarray(step, jnp.result_type(float))

    def __call__(self, problem: AbstractProblem, step: Step) -> tuple[Scalar, BoolScalar]:
        error = _tree.norm(problem.optimality(step.params, self.step.astype(_tree.dtype_of(step.params))))
        return error, error <= self.tol.astype(error.dtype)
