from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import Params


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
    threshold = jnp.asarray(rtol, size.dtype) ** 2

    def condition(carry):
        _, _, _, rho, k, healthy = carry
        return healthy & (rho > threshold) & (k < max_steps)

    def body(carry):
        x, residual, direction, rho, k, _ = carry
        image = matvec(direction)
        curvature = _tree.vdot(direction, image)
        healthy = curvature > 0
        alpha = jnp.where(healthy, rho / jnp.where(healthy, curvature, 1), 0)
        x = _tree.add_scaled(x, alpha, direction)
        residual = _tree.add_scaled(residual, -alpha, image)
        new_rho = _tree.squared_norm(residual)
        direction = _tree.add_scaled(residual, new_rho / rho, direction)
        return x, residual, direction, new_rho, k + 1, healthy

    rho = _tree.squared_norm(residual)
    carry = (x, residual, residual, rho, jnp.asarray(0, jnp.int32), jnp.asarray(True))
    return _tree.scale(scale, while_loop(condition, body, carry)[0])
