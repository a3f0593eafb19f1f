from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar


def conjugate_gradient(
    matvec: Callable[[Params], Params],
    rhs: Params,
    *,
    rtol: ArrayLike,
    max_steps: int,
    start: Params | None = None,
) -> Params:
    """Conjugate gradient for a consistent symmetric positive semidefinite system, to a residual of `rtol * |rhs|`.

    The right-hand side is normalized first, since the squares of a tiny one underflow, and a direction of no curvature
    ends the iteration instead of dividing by it. On a singular system the iterates stay in the range of the operator.
    `warm_linear_solve` also tells how it went.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import implicit
        >>> diagonal = jnp.array([1.0, 2.0])
        >>> x = implicit.conjugate_gradient(lambda v: diagonal * v, jnp.array([1.0, 1.0]), rtol=1e-6, max_steps=10)
        >>> print(x.round(5))
        [1.  0.5]
    """
    largest = jax.tree.reduce(jnp.maximum, jax.tree.map(lambda b: jnp.max(jnp.abs(b), initial=0), rhs))
    largest = jnp.where(largest > 0, largest, 1)
    rhs = _tree.scale(1 / largest, rhs)
    size = _tree.norm(rhs)
    size = jnp.where(size > 0, size, 1)
    rhs = _tree.scale(1 / size, rhs)
    scale = largest * size

    if start is None:
        x, residual = _tree.zeros_like(rhs), rhs
    else:
        x = _tree.scale(1 / scale, start)
        residual = _tree.sub(rhs, matvec(x))
        # A start worse than zero, or not finite, is no start.
        good = _tree.squared_norm(residual) < 1
        x = _tree.where(good, x, _tree.zeros_like(x))
        residual = _tree.where(good, residual, rhs)
    tol = jnp.asarray(rtol, size.dtype)
    x, _, _ = descend_conjugate(matvec, x, residual, jnp.asarray(0, jnp.int32), tol, max_steps)
    return _tree.scale(scale, x)


def descend_conjugate(
    matvec: Callable[[Params], Params], x: Params, residual: Params, steps: IntScalar, tol: Scalar, max_steps: int
) -> tuple[Params, IntScalar, BoolScalar]:
    """Conjugate gradient from x with its residual: the new x, the steps taken so far, and whether no curvature failed.

    It ends where the recursive residual is at most `tol`, the steps are `max_steps`, or a direction has no curvature.
    """

    def condition(carry):
        _, _, _, rho, steps, healthy = carry
        return healthy & (_tree.safe_sqrt(rho) > tol) & (steps < max_steps)

    def body(carry):
        x, residual, direction, rho, steps, _ = carry
        image = matvec(direction)
        curvature = _tree.vdot(direction, image)
        healthy = curvature > 0
        alpha = jnp.where(healthy, rho / jnp.where(healthy, curvature, 1), 0)
        x = _tree.add_scaled(x, alpha, direction)
        residual = _tree.add_scaled(residual, -alpha, image)
        new_rho = _tree.squared_norm(residual)
        direction = _tree.add_scaled(residual, new_rho / jnp.where(rho > 0, rho, 1), direction)
        return x, residual, direction, new_rho, steps + healthy.astype(jnp.int32), healthy

    rho = _tree.squared_norm(residual)
    carry = (x, residual, residual, rho, steps, jnp.asarray(True))
    x, _, _, _, steps, healthy = while_loop(condition, body, carry)
    return x, steps, healthy
