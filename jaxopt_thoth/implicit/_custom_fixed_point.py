from collections.abc import Callable

from .. import _tree
from .._types import Params
from ._custom_root import custom_root
from ._root import LinearSolver


def custom_fixed_point(
    mapping: Callable[..., Params], *, linear_solver: LinearSolver = None, has_aux: bool = False
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through the map whose fixed point it finds, `x = mapping(x, *arguments)`.

    `custom_root` of `x - mapping(x, *arguments)`; the arguments are the same. A map that contracts may also be
    differentiated inexactly, by `NeumannSeries`, `JacobianFree` or `QuasiNewtonInverse` as linear solver.

    Blondel et al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> @jt.implicit.custom_fixed_point(lambda x, a: jnp.cos(a * x))
        ... def solve(start, a):
        ...     return jax.lax.fori_loop(0, 100, lambda _, x: jnp.cos(a * x), start)
        >>> x, slope = jax.value_and_grad(solve, argnums=1)(1.0, 1.0)
        >>> print(f"{x:.3f} {slope:.2f} {-x * jnp.sin(x) / (1 + jnp.sin(x)):.2f}")
        0.739 -0.30 -0.30
    """
    residual = lambda x, *arguments: _tree.sub(x, mapping(x, *arguments))
    return custom_root(residual, linear_solver=linear_solver, has_aux=has_aux)
