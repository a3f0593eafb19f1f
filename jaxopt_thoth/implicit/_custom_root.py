from collections.abc import Callable

from .._types import Params
from ._root import differentiate, LinearSolver


def custom_root(
    optimality: Callable[..., Params], *, linear_solver: LinearSolver = None, has_aux: bool = False
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through the equation that its result solves.

    The decorated `solver(start, *arguments)` may be anything: a loop, a closed form, another library. Its result x
    solves `optimality(x, *arguments) = 0`, and the implicit function theorem gives its derivative in the arguments:
    forward, reverse, of any order, and under `vmap`. Neither the start nor what the functions close over has one:
    pass all that is differentiated as an argument. Arguments and x are pytrees; integer leaves are constants.

    Args:
        optimality: function of x and the arguments, with the structure of x.
        linear_solver: a lineax solver of the linear system in the Jacobian of `optimality`. By default a factorization
            up to 256 unknowns, GMRES beyond, and NaN where neither solves the system; where the Jacobian is singular,
            `lx.AutoLinearSolver(well_posed=False)` or `Ridge`. With `has_aux` also a function of aux that makes one.
        has_aux: whether the solver returns `(x, aux)`; aux comes back without derivatives.

    Blondel et al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> @jt.implicit.custom_root(lambda x, a: x**2 - a)
        ... def square_root(start, a):
        ...     return jax.lax.fori_loop(0, 20, lambda _, x: (x + a / x) / 2, start)
        >>> print(jax.grad(square_root, argnums=1)(1.0, 4.0))
        0.25
    """

    return lambda solver: differentiate(solver, optimality, linear_solver, has_aux)
