import functools
from collections.abc import Callable
from typing import Any

import jax
import lineax as lx

from .. import _tree
from .._types import Params, Scalar
from ._root import attach_root


def custom_argmin(
    objective: Callable[..., Scalar], *, linear_solver: lx.AbstractLinearSolver | None = None, has_aux: bool = False
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
    gradient = jax.grad(objective)

    def decorate(solver: Callable) -> Callable:
        @functools.wraps(solver)
        def solve(start: Params, *arguments: Any) -> Any:
            found = solver(*_tree.stop_gradient((start, *arguments)))
            root, aux = found if has_aux else (found, None)
            attached = attach_root(gradient, root, arguments, linear_solver, symmetric=True)
            return (attached, _tree.stop_gradient(aux)) if has_aux else attached

        return solve

    return decorate
