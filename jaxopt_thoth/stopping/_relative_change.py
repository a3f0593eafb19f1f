import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative
from ..problems import AbstractProblem
from ._base import AbstractStop, Step


class RelativeChange(AbstractStop):
    """Stop when the iterate moves by at most `tol` of its norm: cheap, and no certificate of optimality.

    Args:
        tol: tolerance on `|w_new - w_old| / max(|w_new|, tiny)`.

    Example:
        >>> from jaxopt_thoth import stopping
        >>> stop = stopping.RelativeChange(1e-6)
    """

    tol: Scalar

    def __init__(self, tol: ArrayLike):
        require_nonnegative(tol, "tol")
        self.tol = jnp.asarray(tol, jnp.result_type(float))

    def __call__(self, problem: AbstractProblem, step: Step) -> tuple[Scalar, BoolScalar]:
        change = _tree.norm(_tree.sub(step.params, step.previous))
        size = _tree.norm(step.params)
        error = change / jnp.maximum(size, jnp.finfo(size.dtype).tiny)
        return error, error <= self.tol.astype(error.dtype)
