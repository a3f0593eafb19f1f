from collections.abc import Callable

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import lineax as lx
from jaxtyping import ArrayLike

from .. import _tree
from .._loop import while_loop
from .._types import Params, Scalar
from .._validate import require_positive
from ..problems import AbstractProblem, Composite
from ._base import AbstractAdjoint
from ._cg import conjugate_gradient
from ._linear_solve import linear_solve
from ._linearization import fixed_point_jacobian, Linearization
from ._support import gathered_solve


class Implicit(AbstractAdjoint):
    """Differentiate the optimality conditions: exact derivatives at a solution, whatever path led to it.

    With T(w) = prox_s(w - s grad f(w)), P the Jacobian of the prox and H the Hessian of f, the implicit function
    theorem asks for `(I - P(I - sH)) dw = dT`. That matrix is not symmetric; instead conjugate gradient solves
    `(P(I-P) + sPHP) q = P(I - sH) dT`, symmetric positive semidefinite for every convex penalty, and `dw = dT + P q`.
    Forward and reverse mode, `vmap` and second derivatives come from the one rule. At a kink (an entry on the border of
    the support) the derivative is one element of the conservative Jacobian; see `strict_complementarity_gap`.

    Args:
        linear_solver: None for the symmetrized conjugate gradient, or a lineax solver (`lx.LU()`, `lx.GMRES(...)`) for
            the unsymmetrized system. Problems that are not `Composite` have no symmetric one: there None is
            a dense least-squares solve up to 256 unknowns, and GMRES beyond.
        tol: relative residual of the linear solve; a tenth of the solver's tolerance by default.
        max_steps: bound on the number of conjugate gradient steps; by default 100 plus four for each parameter.
        max_support: where the penalty is separable and at most this many entries of the solution are not zero, gather
            them and factor a small matrix once; a larger support falls back on conjugate gradient.
        polish: refine the solution by one Newton step on the same linear system, kept where it lowers the residual.

    Raises:
        ValueError: if `max_support` or `max_steps` is not positive, or `max_support` meets another linear solver; when
            differentiated or polished, if the penalty is not convex and no other linear solver is given.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> def fit(strength):
        ...     problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -4.0])), jt.penalties.L1(strength))
        ...     return jt.solve(problem, jt.ProximalGradient(), jnp.zeros(2), adjoint=jt.implicit.Implicit()).params
        >>> print(jax.jacobian(fit)(2.0).round())
        [-1. -1.]
    """

    linear_solver: lx.AbstractLinearSolver | None
    tol: Scalar | None
    max_steps: int | None = eqx.field(static=True)
    max_support: int | None = eqx.field(static=True)
    polish: bool = eqx.field(static=True)

    def __init__(
        self,
        linear_solver: lx.AbstractLinearSolver | None = None,
        *,
        tol: ArrayLike | None = None,
        max_steps: int | None = None,
        max_support: int | None = None,
        polish: bool = False,
    ):
        for name, value in (("max_steps", max_steps), ("max_support", max_support)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if linear_solver is not None and max_support is not None:
            raise ValueError("max_support chooses its own linear solver; pass linear_solver=None with it.")
        if tol is not None:
            require_positive(tol, "tol")
        self.linear_solver = linear_solver
        self.tol = None if tol is None else jnp.asarray(tol, jnp.result_type(float))
        self.max_steps = max_steps
        self.max_support = max_support
        self.polish = polish

    def tangent(self, problem: AbstractProblem, params: Params, step: Scalar, rhs: Params, tol: Scalar) -> Params:
        if not isinstance(problem, Composite):
            if self.linear_solver is None and (closed := problem.implicit_tangent(params, step, rhs)) is not None:
                return closed
            # No symmetric system stands behind a general map.
            rtol = self._relative_tolerance(params, tol)
            jacobian = fixed_point_jacobian(problem, params, step)
            matvec = lambda v: _tree.sub(v, jacobian(v))
            # Dual variables need not be unique: then the derivative of least norm is as good as any.
            return linear_solve(matvec, rhs, self.linear_solver, well_posed=False, rtol=rtol, max_steps=self.max_steps)
        if self.linear_solver is None and not problem.penalty.is_convex:
            raise ValueError(
                f"{type(problem.penalty).__name__} is not convex, and conjugate gradient needs a convex penalty; "
                "pass Implicit(lineax.LU()) or Implicit(lineax.GMRES(rtol, atol)), or use Unrolled()."
            )
        if self.polish:
            tol = jnp.zeros_like(tol)
        linearization = Linearization(problem, params, step)
        if self.linear_solver is not None:
            return linear_solve(linearization.residual, rhs, self.linear_solver)
        return linearization.solve(rhs, self._symmetric_solve(problem, params, step, linearization, tol))

    def polished(self, problem: AbstractProblem, params: Params, step: Scalar, tol: Scalar) -> Params:
        if not self.polish:
            return params
        residual = _tree.sub(problem.fixed_point(params, step), params)
        newton = _tree.add(params, self.tangent(problem, params, step, residual, tol))
        new_residual = _tree.sub(problem.fixed_point(newton, step), newton)
        better = _tree.squared_norm(new_residual) < _tree.squared_norm(residual)
        return _tree.where(better, newton, params)

    def _relative_tolerance(self, params: Params, tol: Scalar) -> Scalar:
        dtype = _tree.dtype_of(params)
        floor = 10 * float(jnp.finfo(dtype).eps)
        return jnp.maximum(tol / 10 if self.tol is None else self.tol.astype(tol.dtype), floor).astype(dtype)

    def _symmetric_solve(
        self, problem: Composite, params: Params, step: Scalar, linearization: Linearization, tol: Scalar
    ) -> Callable[[Callable, Params], Params]:
        rtol = self._relative_tolerance(params, tol)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        max_steps = 4 * size + 100 if self.max_steps is None else self.max_steps

        def iterate(matvec: Callable[[Params], Params], b: Params, start: Params | None = None) -> Params:
            return conjugate_gradient(matvec, b, rtol=rtol, max_steps=max_steps, start=start)

        if self.max_support is None:
            return iterate
        factored, fits = gathered_solve(problem, params, step, linearization, min(self.max_support, size))

        def solve(matvec: Callable[[Params], Params], b: Params) -> Params:
            # A loop, and no branch: under vmap both branches would be taken by every row.
            repair = lambda carry: (jnp.asarray(True), iterate(matvec, b, carry[1]))
            return while_loop(lambda carry: ~carry[0], repair, (fits, factored(b)))[1]

        return solve
