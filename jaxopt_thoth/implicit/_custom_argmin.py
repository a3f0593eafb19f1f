from collections.abc import Callable

import jax

from .._types import Scalar
from ._root import differentiate, LinearSolver


def custom_argmin(
    objective: Callable[..., Scalar], *, linear_solver: LinearSolver = None, has_aux: bool = False
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through the smooth objective that it minimizes without constraints.

    `custom_root` of the gradient of `objective(x, *arguments)`, whose Jacobian is symmetric: beyond 256 unknowns the
    default linear solver is conjugate gradient. For an objective with a penalty or constraints, `attach` takes the
    `Composite` problem. The arguments are those of `custom_root`.

    Blondel et al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> ridge = lambda w, s: jnp.sum((w - 3.0) ** 2) / 2 + s * jnp.sum(w**2) / 2
        >>> @jt.implicit.custom_argmin(ridge)
        ... def solve(start, s):
        ...     return jnp.full_like(start, 3.0) / (1 + s)  # by any means
        >>> print(jax.jacobian(solve, argnums=1)(jnp.zeros(2), 1.0))
        [-0.75 -0.75]
    """
    return lambda solver: differentiate(solver, jax.grad(objective), linear_solver, has_aux, symmetric=True)
