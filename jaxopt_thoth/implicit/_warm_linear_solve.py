from collections.abc import Callable
from typing import get_args, Literal

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import IntScalar, Params, Scalar
from .._validate import require_nonnegative
from ._cg import descend_conjugate
from ._linear_solution import LinearSolution
from ._structures import require_same_structure


Method = Literal["cg", "gmres", "bicgstab"]
# Rounds of conjugate gradient, each from the residual computed afresh: the recursive residual drifts from it.
_ROUNDS = 4


def warm_linear_solve(
    matvec: Callable[[Params], Params],
    rhs: Params,
    start: Params | None = None,
    *,
    method: Method = "cg",
    rtol: ArrayLike | None = None,
    atol: ArrayLike = 0.0,
    max_steps: int | None = None,
) -> LinearSolution:
    """Solve `matvec(x) = rhs` from a start until `|rhs - matvec(x)| <= max(rtol * |rhs|, atol)`, and say how it went.

    A start that meets the tolerance comes back after 0 steps; one that is worse than zero is replaced by zero, and a
    right-hand side of zero has the solution zero. Nothing raises and nothing is NaN where a system is singular, or a
    finished row waits for others under `vmap`: the result carries its residual and whether it is good enough. No
    derivative passes through the iterations; `custom_root` and its kin have their own solve for that.

    Args:
        matvec: the linear map, from the structure of `rhs` to itself; with "cg" symmetric positive semidefinite.
        rhs: a pytree of floating-point arrays.
        start: of the structure of `rhs`, for example the last solution of a system that changes little.
        method: "cg", or "gmres" (restarted after 50 products; a step is such a cycle) and "bicgstab" for maps that are
            not symmetric.
        rtol: relative tolerance; by default 1e-8, or 1e-5 in single precision.
        atol: absolute tolerance.
        max_steps: bound on the number of steps; by default 100 plus four for each unknown.

    Raises:
        ValueError: for an unknown method, a negative tolerance or number of steps, or a start or a map that has not the
            structure of `rhs`.

    Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952; Saad and Schultz, "GMRES",
    1986; van der Vorst, "Bi-CGSTAB", 1992.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import implicit
        >>> matvec, rhs = lambda v: jnp.array([1.0, 2.0]) * v, jnp.ones(2)
        >>> cold = implicit.warm_linear_solve(matvec, rhs)
        >>> warm = implicit.warm_linear_solve(matvec, rhs, cold.value)
        >>> print(cold.value.round(5), cold.num_steps, warm.num_steps)
        [1.  0.5] 2 0
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(map(repr, get_args(Method)))}, got {method!r}.")
    require_nonnegative(atol, "atol")
    require_nonnegative(0 if rtol is None else rtol, "rtol")
    size = sum(leaf.size for leaf in jax.tree.leaves(rhs))
    max_steps = 4 * size + 100 if max_steps is None else max_steps
    if max_steps < 0:
        raise ValueError(f"max_steps must be nonnegative, got {max_steps}.")
    if start is not None:
        require_same_structure(start, rhs, "start", "rhs")
    require_same_structure(jax.eval_shape(matvec, rhs), rhs, "the result of matvec", "rhs")

    dtype = _tree.dtype_of(rhs)
    if rtol is None:
        rtol = 1e-8 if jnp.finfo(dtype).bits > 32 else 1e-5
    # In units of the right-hand side: the squares of a tiny one underflow.
    norm = _tree.stable_norm(rhs).astype(dtype)
    unit = jnp.where(norm > 0, norm, 1)
    rhs = _tree.scale(1 / unit, rhs)
    tol = jnp.maximum(jnp.asarray(rtol).astype(dtype), jnp.asarray(atol).astype(dtype) / unit)
    x, residual = _tree.zeros_like(rhs), rhs
    if start is not None:
        scaled = _tree.scale(1 / unit, start)
        left = _tree.sub(rhs, matvec(scaled))
        # A start worse than zero, or not finite, is no start.
        good = _tree.norm(left) < _tree.norm(rhs)
        x, residual = _tree.where(good, scaled, x), _tree.where(good, left, residual)
    if method == "cg":
        x, residual, steps = _conjugate_gradient(matvec, rhs, x, residual, tol, max_steps)
    else:
        x, residual, steps = _krylov(matvec, rhs, x, residual, tol, max_steps, method)
    size_left = _tree.norm(residual)
    return LinearSolution(_tree.scale(unit, x), unit * size_left, steps, size_left <= tol)


def _conjugate_gradient(
    matvec: Callable[[Params], Params], rhs: Params, x: Params, residual: Params, tol: Scalar, max_steps: int
) -> tuple[Params, Params, IntScalar]:
    def cycle(carry):
        x, residual, steps, round_, _ = carry
        rho = _tree.squared_norm(residual)
        new_x, steps, healthy = descend_conjugate(matvec, x, residual, steps, tol, max_steps)
        new_left = _tree.sub(rhs, matvec(new_x))
        # On a singular system without a solution the iterates may run away.
        better = _tree.squared_norm(new_left) < rho
        x, left = _tree.where(better, new_x, x), _tree.where(better, new_left, residual)
        # Where a round does not halve the residual, rounding is all that is left of it.
        useful = healthy & (4 * _tree.squared_norm(left) < rho)
        return x, left, steps, round_ + 1, useful

    def again(carry):
        _, residual, steps, round_, useful = carry
        return useful & (_tree.norm(residual) > tol) & (steps < max_steps) & (round_ < _ROUNDS)

    zero = jnp.asarray(0, jnp.int32)
    x, residual, steps, _, _ = while_loop(again, cycle, (x, residual, zero, zero, jnp.asarray(True)))
    return x, residual, steps


def _krylov(
    matvec: Callable[[Params], Params],
    rhs: Params,
    x: Params,
    residual: Params,
    tol: Scalar,
    max_steps: int,
    method: str,
) -> tuple[Params, Params, IntScalar]:
    """One correction `matvec(d) = residual` by lineax, kept where it helps."""
    here = _tree.norm(residual)
    todo = here > tol
    unit = jnp.where(todo, here, 1)
    target = jax.tree.map(lambda r: jnp.where(todo, r / unit, 0), residual)
    # A tenth: lineax measures its own residual, and we measure again.
    settings = {"rtol": 0.0, "atol": tol / unit / 10, "norm": _tree.norm, "max_steps": max(max_steps, 1)}
    solver = lx.BiCGStab(**settings) if method == "bicgstab" else lx.GMRES(**settings, restart=50)
    operator = lx.FunctionLinearOperator(matvec, jax.eval_shape(lambda: rhs))
    solution = lx.linear_solve(operator, target, solver, throw=False)
    moved = _tree.add_scaled(x, unit, solution.value)
    left = _tree.sub(rhs, matvec(moved))
    better = todo & (_tree.norm(left) < here) & (max_steps > 0)
    steps = jnp.where(todo, solution.stats["num_steps"], 0).astype(jnp.int32)
    return _tree.where(better, moved, x), _tree.where(better, left, residual), steps
