import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ..penalties import AbstractPenalty
from ..problems import Composite
from ..smooth import FunctionTerm
from ._base import attach
from ._implicit import Implicit
from ._linearization import Linearization


def custom_prox_fixed_point(
    objective: Callable[..., Scalar],
    prox: Callable[..., Params] | None = None,
    *,
    penalty: Callable[..., AbstractPenalty] | None = None,
    step: ArrayLike = 1.0,
    linear_solver: lx.AbstractLinearSolver | None = None,
    max_support: int | None = None,
    has_aux: bool = False,
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through the smooth objective plus simple convex term that it minimizes.

    The decorated `solver(start, *arguments)` may be anything. Its result is the fixed point x of
    `prox(x - step * grad objective(x, *arguments), step, *arguments)`, for every step; its derivative solves the
    symmetrized system of `Implicit` by conjugate gradient, forward, reverse, of any order and under `vmap`. It does not
    depend on `step`. Neither the start nor what the functions close over has a derivative: pass all that is
    differentiated as an argument.

    Where the system has no solution (a solution that is not isolated, a smooth part that is not convex), it is NaN.

    Args:
        objective: smooth scalar function of x and the arguments.
        prox: function `prox(z, step, *arguments)`, the proximal operator of the simple term.
        penalty: in its place, a function of the arguments that makes one of `jt.penalties`, such as `jt.penalties.L1`.
        step: step of the map; where the size of the gradient is far from one, the inverse of its Lipschitz constant
            spares the linear solve some steps.
        linear_solver: a lineax solver of the unsymmetrized system, as for `Implicit`.
        max_support: where the simple term is separable (with `prox`: is promised to be) and at most so many entries of
            x are not held fixed by it, one small factorization; larger supports fall back on conjugate gradient.
        has_aux: whether the solver returns `(x, aux)`; aux comes back without derivatives.

    Raises:
        TypeError: if not just one of `prox` and `penalty` is given.
        ValueError: if `step` or `max_support` is not positive, and when differentiated for a penalty that is not
            convex, or not separable under `max_support`.

    Bertrand et al., "Implicit differentiation of Lasso-type models for hyperparameter optimization", 2020; Blondel et
    al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> distance = lambda x, strength: jnp.sum((x - jnp.array([3.0, 1.0])) ** 2) / 2
        >>> @jt.implicit.custom_prox_fixed_point(distance, penalty=jt.penalties.L1)
        ... def solve(start, strength):
        ...     return jnp.maximum(jnp.array([3.0, 1.0]) - strength, 0)  # by any means
        >>> print(jax.jacobian(solve, 1)(jnp.zeros(2), 2.0) + 0.0)
        [-1.  0.]
    """
    if (prox is None) == (penalty is None):
        raise TypeError("custom_prox_fixed_point needs either prox or penalty; pass one of them, and not both.")
    require_positive(step, "step")
    adjoint = _Checked(linear_solver, max_support)

    make: Any = penalty
    if prox is not None:
        kind = _Prox if max_support is None else _SeparableProx
        make = lambda *arguments: kind(prox, arguments)

    def decorate(solver: Callable) -> Callable:
        @functools.wraps(solver)
        def solve(start: Params, *arguments: Any) -> Any:
            found = _tree.stop_gradient(solver(*_tree.stop_gradient((start, *arguments))))
            x, aux = found if has_aux else (found, None)
            x = _tree.as_inexact(x)
            term = make(*arguments)
            dtype = _tree.dtype_of(x)
            tol = jnp.asarray(1000 * float(jnp.finfo(dtype).eps), dtype)
            problem = Composite(FunctionTerm(objective, *arguments), term)
            attached = attach(adjoint, problem, x, jnp.asarray(step).astype(dtype), tol)
            return (attached, aux) if has_aux else attached

        return solve

    return decorate


class _Prox(AbstractPenalty):
    """The term that a function stands for."""

    fn: Callable[..., Params]
    arguments: tuple[Any, ...]

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return self.fn(x, step, *self.arguments)


class _SeparableProx(_Prox):
    is_separable: ClassVar[bool] = True


class _Checked(Implicit):
    """`Implicit` with NaN in place of what does not solve the system."""

    def __init__(self, linear_solver: lx.AbstractLinearSolver | None, max_support: int | None):
        super().__init__(linear_solver, max_support=max_support)

    def _symmetric_solve(
        self, problem: Composite, params: Params, step: Scalar, linearization: Linearization, tol: Scalar
    ) -> Callable[[Callable, Params], Params]:
        solve = super()._symmetric_solve(problem, params, step, linearization, tol)

        def checked(matvec: Callable[[Params], Params], b: Params) -> Params:
            x = solve(matvec, b)
            bound = float(jnp.finfo(_tree.dtype_of(b)).eps) ** 0.5
            reached = _tree.stable_norm(_tree.sub(matvec(x), b)) <= bound * _tree.stable_norm(b)
            return jax.tree.map(lambda leaf: jnp.where(reached, leaf, jnp.nan), x)

        return checked
