from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative
from ..implicit import warm_linear_solve
from ._images import require_count


def read_tolerance(tol: ArrayLike | None, max_steps: int, dtype: jnp.dtype) -> Array:
    """The tolerance as a leaf, by default that of the dtype; raises `ValueError` for settings out of range."""
    require_count(max_steps, "max_steps")
    if tol is None:
        return jnp.asarray(_tree.default_tolerance(dtype), dtype)
    require_nonnegative(tol, "tol")
    return _tree.setting(tol).astype(dtype)


def solve_normal(
    matvec: Callable[[Array], Array], rhs: Array, tol: Scalar, max_steps: int
) -> tuple[Array, Scalar, IntScalar]:
    """Conjugate gradient on a symmetric positive semidefinite system: the solution, its relative residual, the steps.

    The derivative of the solution is that of the system, by one more solve, whatever the steps did.
    """

    def solve(matvec: Callable[[Array], Array], rhs: Array) -> tuple[Array, tuple[Scalar, Array]]:
        found = warm_linear_solve(matvec, rhs, rtol=tol, max_steps=max_steps)
        size = _tree.norm(rhs)
        # An integer would need a tangent of its own kind.
        steps = found.num_steps.astype(rhs.dtype)
        return found.value, (found.residual_norm / jnp.where(size > 0, size, 1), steps)

    x, (error, steps) = jax.lax.custom_linear_solve(matvec, rhs, solve, symmetric=True, has_aux=True)
    return x, jax.lax.stop_gradient(error), jax.lax.stop_gradient(steps).astype(jnp.int32)
