from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..penalties import Zero
from ..problems import Composite, LeastSquares
from ..smooth import FunctionTerm
from ..solvers import AbstractSolver
from ..solvers._inverse_curvature import inverse_curvature
from ..solvers._relative_error import relative_error
from ..solvers._settings import count_setting, tolerance_setting


def from_optimistix(solver: Any, *, tol: ArrayLike | None = None, max_steps: int = 1000) -> AbstractSolver:
    """An optimistix minimizer as a solver of smooth problems: its steps, with our loop, error and derivatives.

    A minimizer takes a `Composite` whose penalty is `Zero`, and a least-squares solver such as
    `optimistix.LevenbergMarquardt` a `problems.LeastSquares` without a loss. The error is the norm of the gradient,
    relative to `max(1, g)`, g the least one so far, and costs one gradient a step; the minimizer's own criterion, which
    looks at the change of iterates, has no say. Its line search compares values, which stop telling steps apart at an
    error of about the square root of the rounding unit: in float64 a `tol` below 1e-7 may not be met.

    Args:
        solver: an `optimistix.AbstractMinimiser` or `AbstractLeastSquaresSolver`, for example
            `optimistix.BFGS(rtol=0.0, atol=0.0)`.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps, those that the minimizer rejects included.

    Raises:
        TypeError: if `solver` is neither.
        ValueError: if a setting is out of range; when it meets a penalty that is not `Zero`, or a loss.

    Example:
        >>> import jax.numpy as jnp, optimistix as optx, jaxopt_thoth as jt
        >>> from jaxopt_thoth import interop
        >>> problem = jt.Composite(jt.Quadratic(jnp.diag(jnp.array([1.0, 4.0])), jnp.array([-3.0, 4.0])))
        >>> bfgs = interop.from_optimistix(optx.BFGS(rtol=0.0, atol=0.0))
        >>> print(jt.solve(problem, bfgs, jnp.zeros(2)).params.round(3))
        [ 3. -1.]
    """
    import optimistix as optx

    if isinstance(solver, optx.AbstractLeastSquaresSolver):
        return _OptimistixLeastSquaresSolver(solver, tol, max_steps)
    if not isinstance(solver, optx.AbstractMinimiser):
        raise TypeError(
            "solver must be an optimistix.AbstractMinimiser or AbstractLeastSquaresSolver, got "
            f"{type(solver).__name__}; pass for example optimistix.BFGS(rtol=0.0, atol=0.0)."
        )
    return _OptimistixSolver(solver, tol, max_steps)


class _OptimistixState(eqx.Module):
    inner: Any
    gradient_norm: Scalar
    error: Scalar


class _OptimistixSolver(AbstractSolver):
    solver: Any
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)

    def __init__(self, solver: Any, tol: ArrayLike | None, max_steps: int):
        self.solver = solver
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Composite, params: Params) -> _OptimistixState:
        if not isinstance(problem.penalty, Zero):
            raise ValueError(
                f"from_optimistix needs the penalty Zero(), got {type(problem.penalty).__name__}, since the minimizers "
                "of optimistix are for smooth functions; use ProximalGradient()."
            )
        inf = jnp.asarray(jnp.inf, _tree.dtype_of(params))
        return _OptimistixState(eqx.filter(self._start(problem, params), eqx.is_array), inf, inf)

    def step(self, problem: Composite, params: Params, state: _OptimistixState) -> tuple[Params, _OptimistixState]:
        # What is not an array in the state never changes: found again by tracing, so that the carry is all arrays.
        structure = eqx.filter_eval_shape(self._start, problem, params)
        static = eqx.filter(structure, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct), inverse=True)
        inner = eqx.combine(state.inner, static)
        new, inner, _ = self.solver.step(self.function, params, problem, {}, inner, frozenset())
        gradient = jax.grad(problem.value)(new) if isinstance(problem, LeastSquares) else problem.smooth.gradient(new)
        error, gradient_norm = relative_error(gradient, gradient, state.gradient_norm)
        return new, _OptimistixState(eqx.filter(inner, eqx.is_array), gradient_norm, error)

    def error(self, problem: Composite, params: Params, state: _OptimistixState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: _OptimistixState) -> Scalar:
        return inverse_curvature(problem, params)

    @staticmethod
    def function(params: Params, problem: Any) -> tuple[Any, None]:
        return problem.smooth.value(params), None

    def _start(self, problem: Any, params: Params) -> Any:
        value = jax.eval_shape(lambda w: self.function(w, problem)[0], params)
        return self.solver.init(self.function, params, problem, {}, value, None, frozenset())


class _OptimistixLeastSquaresSolver(_OptimistixSolver):
    problem_kind = LeastSquares

    def __init__(self, solver: Any, tol: ArrayLike | None, max_steps: int):
        super().__init__(solver, tol, max_steps)

    def init(self, problem: Any, params: Params) -> _OptimistixState:
        if problem.loss is not None:
            raise ValueError(
                f"the least-squares solvers of optimistix take residuals, got the loss {type(problem.loss).__name__}; "
                "use LevenbergMarquardt()."
            )
        inf = jnp.asarray(jnp.inf, _tree.dtype_of(params))
        return _OptimistixState(eqx.filter(self._start(problem, params), eqx.is_array), inf, inf)

    def fixed_point_step(self, problem: Any, params: Params, state: _OptimistixState) -> Scalar:
        return inverse_curvature(Composite(FunctionTerm(problem.value)), params)

    @staticmethod
    def function(params: Params, problem: Any) -> tuple[Any, None]:
        return problem.outputs(params), None
