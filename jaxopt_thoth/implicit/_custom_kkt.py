import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from .. import _tree
from .._types import Params, Scalar
from ._root import attach_root
from ._structures import require_same_structure


def custom_kkt(
    objective: Callable[..., Scalar],
    equality: Callable[..., Params] | None = None,
    inequality: Callable[..., Params] | None = None,
    *,
    linear_solver: lx.AbstractLinearSolver | None = None,
    has_aux: bool = False,
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through the smooth program with constraints that it solves.

    The decorated `solver(start, *arguments)` minimizes `objective(x, *arguments)` subject to
    `equality(x, *arguments) = 0` and `inequality(x, *arguments) <= 0`, and returns `(x, nu, lam)`: the solution and its
    multipliers, for which the gradient of `objective + <nu, equality> + <lam, inequality>` in x is zero and
    `lam >= 0`. All three come back with derivatives: forward, reverse, of any order, and under `vmap`, where each row
    has an active set of its own. Neither the start nor what the functions close over has one.

    An inequality takes part where its multiplier exceeds its slack, `lam > -inequality(x)`: where it is strictly active
    if lam is exact, and as it should be if lam comes from an interior point. Then its row is an equation; else its
    multiplier is held at zero. The system is symmetric and indefinite, of the size of x, nu and lam together. Up to
    256 unknowns it is solved in the least-squares sense: where rows of the active constraints depend on each
    other, x has its derivative and the multipliers that of least norm. Where it has no solution (a minimizer that is
    not isolated, dependent constraints that move apart) the derivative is NaN.

    Args:
        objective: smooth scalar function of x and the arguments.
        equality: function of x and the arguments, any pytree; without it nu is None.
        inequality: function of x and the arguments, any pytree; without it lam is None.
        linear_solver: a lineax solver for indefinite systems, such as `lx.LU()` where no rows depend on each other.
        has_aux: whether the solver returns `((x, nu, lam), aux)`; aux comes back without derivatives.

    Raises:
        ValueError: at a call, if the solver does not return three parts, or multipliers unlike their constraints.

    Amos and Kolter, "OptNet: differentiable optimization as a layer in neural networks", 2017.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> distance = lambda x, a: jnp.sum((x - a) ** 2) / 2
        >>> @jt.implicit.custom_kkt(distance, equality=lambda x, a: jnp.sum(x) - 1)
        ... def project(start, a):
        ...     excess = (jnp.sum(a) - 1) / a.size
        ...     return a - excess, excess, None
        >>> print(jax.jacobian(lambda a: project(a, a)[0])(jnp.array([1.0, 2.0])))
        [[ 0.5 -0.5]
         [-0.5  0.5]]
    """

    def optimality(point: tuple[Params, Params, Params], *arguments: Any) -> tuple[Params, Params, Params]:
        x, nu, lam = point
        slack = None if inequality is None else inequality(x, *arguments)
        rows = active = None
        if inequality is not None:
            active = jax.tree.map(lambda multiplier, g: multiplier + g > 0, lam, slack)
            rows = jax.tree.map(lambda on, multiplier, g: jnp.where(on, g, multiplier), active, lam, slack)

        def lagrangian(x: Params) -> Scalar:
            value = objective(x, *arguments)
            if equality is not None:
                value = value + _tree.vdot(nu, equality(x, *arguments))
            if inequality is not None:
                held = jax.tree.map(lambda on, multiplier: jnp.where(on, multiplier, 0), active, lam)
                value = value + _tree.vdot(held, inequality(x, *arguments))
            return value

        return jax.grad(lagrangian)(x), None if equality is None else equality(x, *arguments), rows

    def decorate(solver: Callable) -> Callable:
        @functools.wraps(solver)
        def solve(start: Params, *arguments: Any) -> Any:
            found = _tree.stop_gradient(solver(*_tree.stop_gradient((start, *arguments))))
            point, aux = found if has_aux else (found, None)
            if not isinstance(point, tuple | list) or len(point) != 3:
                raise ValueError(
                    "the solver of custom_kkt must return (x, nu, lam): the solution, its multipliers of equality and "
                    f"of inequality (None without such constraints); got {type(point).__name__}."
                )
            x, nu, lam = _tree.as_inexact(tuple(point))
            for constraint, multiplier, name in ((equality, nu, "nu"), (inequality, lam, "lam")):
                shape = None if constraint is None else eqx.filter_eval_shape(constraint, x, *arguments)
                require_same_structure(multiplier, shape, f"the multiplier {name}", "its constraint")
            attached = attach_root(optimality, (x, nu, lam), arguments, linear_solver, well_posed=False)
            return (attached, aux) if has_aux else attached

        return solve

    return decorate
