from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import require_nonnegative
from ..implicit import warm_linear_solve
from ..implicit._linear_solve import linear_solve
from ..implicit._linearization import Linearization
from ..implicit._structures import require_same_structure
from ..solvers._inverse_curvature import inverse_curvature_along
from ._bilevel import Bilevel, BilevelPoint, has_penalty
from ._error_bound import AbstractErrorBound


class Hypergradient(eqx.Module):
    """A derivative of `outer(w*(h), h)` in h, and what it is worth.

    Attributes:
        value: outer objective at the inner variable as it is.
        gradient: the hypergradient, with the structure of the outer variable.
        adjoint: solution q of `H q = douter/dw`, to start the next solve from.
        inner_residual: norm of the inner gradient (of the proximal gradient residual, over the step, if composite).
        adjoint_residual: norm of what is left of the linear system.
        num_steps: products with the Hessian that the linear solve took; 0 for a factorization.
        converged: whether the linear solve met its tolerance.
        bound: upper bound of the norm of the error, if one was asked for.
    """

    value: Scalar
    gradient: Params
    adjoint: Params
    inner_residual: Scalar
    adjoint_residual: Scalar
    num_steps: IntScalar
    converged: BoolScalar
    bound: Scalar | None = None


def hypergradient(
    problem: Bilevel,
    hyper: Params,
    params: Params,
    *,
    adjoint: Params | None = None,
    linear_solver: lx.AbstractLinearSolver | None = None,
    rtol: ArrayLike | None = None,
    atol: ArrayLike = 0.0,
    max_steps: int | None = None,
    bound: AbstractErrorBound | None = None,
) -> Hypergradient:
    """Derivative of the outer objective in the outer variable, through the inner problem's optimality conditions.

    With H the Hessian of the inner objective, C its cross derivative and q the solution of `H q = douter/dw`, it is
    `douter/dh - C' q`. A composite inner problem takes the symmetrized system of `implicit.Implicit`. Exact at an exact
    inner solution: its error is of the order of the inner error.

    Args:
        problem: the two levels.
        hyper: outer variable.
        params: (approximate) solution of the inner problem at `hyper`.
        adjoint: start of the linear solve, such as the last adjoint; a start worse than zero is not used.
        linear_solver: a lineax solver; by default conjugate gradient.
        rtol: tolerance on the residual of the linear system, relative to its right-hand side; 1e-12 by default, 1e-5
            in float32.
        atol: absolute tolerance; the looser of the two counts.
        max_steps: bound on the steps of conjugate gradient; by default 100 plus four for each parameter.
        bound: an a-posteriori bound of the error, such as `ErrorBound(strong_convexity, ...)`.

    Raises:
        TypeError: if the outer variable is not floating-point.
        ValueError: if a pytree does not fit, a tolerance is negative, or a bound meets a composite inner problem.

    Pedregosa, "Hyperparameter optimization with approximate gradient", 2016; Blondel et al., "Efficient and modular
    implicit differentiation", 2022.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + h * jnp.sum(w**2) / 2  # w* = 2 / (1 + h)
        >>> ridge = jt.bilevel.Bilevel(lambda w, h: jnp.sum(w), inner)
        >>> print(jt.bilevel.hypergradient(ridge, 1.0, jnp.ones(1)).gradient)
        -0.5
    """
    point = problem.check((hyper, params))
    require_nonnegative(atol, "atol")
    if rtol is not None:
        require_nonnegative(rtol, "rtol")
    if adjoint is not None:
        require_same_structure(adjoint, point.params, "adjoint", "params")
    dtype = _tree.dtype_of(point.params)
    size = sum(leaf.size for leaf in jax.tree.leaves(point.params))
    default = 1e-12 if jnp.finfo(dtype).bits > 32 else 1e-5
    rtol = jnp.asarray(default if rtol is None else rtol).astype(dtype)
    max_steps = 4 * size + 100 if max_steps is None else max_steps
    settings = {"rtol": rtol, "atol": jnp.asarray(atol).astype(dtype), "max_steps": max_steps}
    return _hypergradient(problem.closed(point), point, adjoint, linear_solver, settings, bound)


# Compiled here as well as by the caller, as `solve` is.
@eqx.filter_jit
def _hypergradient(
    problem: Bilevel,
    point: BilevelPoint,
    adjoint: Params | None,
    linear_solver: lx.AbstractLinearSolver | None,
    settings: dict[str, Any],
    bound: AbstractErrorBound | None,
) -> Hypergradient:
    hyper, params = point.hyper, point.params
    value, along_params, along_hyper = problem.outer_gradients(params, hyper)
    inner = problem.inner_problem(hyper)
    if has_penalty(inner):
        if bound is not None:
            raise ValueError("bound needs a smooth inner objective; pass bound=None with a composite inner problem.")
        found = _composite(problem, hyper, params, along_params, adjoint, linear_solver, settings)
    else:
        found = _smooth(problem, hyper, params, along_params, adjoint, linear_solver, settings)
    pulled, adjoint, inner_residual, adjoint_residual, num_steps, converged = found
    gradient = _tree.add(along_hyper, pulled)
    omega = None
    if bound is not None:
        omega = bound(problem, hyper, params, adjoint, inner_residual, adjoint_residual)
    return Hypergradient(value, gradient, adjoint, inner_residual, adjoint_residual, num_steps, converged, omega)


def _smooth(problem, hyper, params, along_params, start, linear_solver, settings):
    gradient, hessian = jax.linearize(lambda w: problem.inner_gradient(w, hyper), params)
    solved = _solve(hessian, along_params, start, linear_solver, settings)
    pullback = jax.vjp(lambda h: problem.inner_gradient(params, h), hyper)[1]
    pulled = _tree.scale(-1.0, pullback(solved[0])[0])
    return pulled, solved[0], _tree.norm(gradient), *solved[1:]


def _composite(problem, hyper, params, along_params, start, linear_solver, settings):
    inner = problem.inner_problem(hyper)
    step = inverse_curvature_along(inner, params, inner.smooth.gradient(params))
    at = Linearization(inner, params, step)
    # Scaled by the step, the adjoint is that of the smooth case, and does not depend on the step.
    matvec = lambda v: _tree.scale(1 / step, at.symmetrized(v))
    solved = _solve(matvec, at.prox_jacobian(along_params), start, linear_solver, settings)
    u = at.prox_jacobian(solved[0])
    u = _tree.add(along_params, _tree.sub(_tree.scale(1 / step, u), at.hessian(u)))
    pullback = jax.vjp(lambda h: problem.inner_problem(h).fixed_point(params, step), hyper)[1]
    residual = _tree.norm(_tree.sub(params, at.image)) / step
    return pullback(u)[0], solved[0], residual, *solved[1:]


def _solve(matvec, rhs, start, linear_solver, settings):
    if linear_solver is None:
        solved = warm_linear_solve(matvec, rhs, start, **settings)
        return solved.value, solved.residual_norm, solved.num_steps, solved.converged
    q = linear_solve(matvec, rhs, linear_solver, symmetric=True)
    residual = _tree.norm(_tree.sub(matvec(q), rhs))
    # A solver of the caller has tolerances of its own; what it reached is judged by the root of the rounding unit.
    loose = float(jnp.finfo(_tree.dtype_of(rhs)).eps) ** 0.5
    return q, residual, jnp.asarray(0, jnp.int32), residual <= jnp.maximum(loose * _tree.norm(rhs), settings["atol"])
