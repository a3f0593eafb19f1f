"""What the solvers share: the life cycle `init_state / update / run` around one of our solvers and `solve`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from ... import _tree
from ..._types import Params, Scalar, State
from ..._validate import concrete
from ...implicit import AbstractAdjoint, Implicit, Unrolled
from ...problems import AbstractProblem
from ...smooth import FunctionTerm
from ...solvers import AbstractSolver, solve
from ._opt_step import OptStep
from ._terms import aux_of, smooth_term


# That of the linear solve of jaxopt is fixed as well: its tolerances on the solution are loose by default.
_ADJOINT_TOL = 1e-6


class Call(NamedTuple):
    """The arguments of a run beside the parameters."""

    hyperparams: Any
    args: tuple
    kwargs: dict


class IterativeSolver:
    """Base of the solvers; a subclass builds the problem of a call and the solver of ours that runs it."""

    fun: Callable
    maxiter: int
    tol: Any
    verbose: Any
    implicit_diff: bool
    implicit_diff_solve: lx.AbstractLinearSolver | None
    jit: bool
    has_aux: bool = False
    value_and_grad: bool = False

    def _problem(self, call: Call) -> AbstractProblem:
        raise NotImplementedError

    def _method(self) -> AbstractSolver:
        raise NotImplementedError

    def _start(self, problem: AbstractProblem, params: Params, call: Call) -> State:
        return self._method().init(problem, params)

    def _shown(self, iter_num: Any, error: Scalar, aux: Any, inner: State) -> Any:
        """The state that a caller sees."""
        raise NotImplementedError

    def l2_optimality_error(self, params: Params, *args: Any, **kwargs: Any) -> Scalar:
        """Euclidean norm of `optimality_fun`, of the same arguments."""
        return _tree.norm(self.optimality_fun(params, *args, **kwargs))  # type: ignore[attr-defined]

    def _check(self) -> None:
        solver = self.implicit_diff_solve
        if solver is not None and not isinstance(solver, lx.AbstractLinearSolver):
            raise TypeError(
                "implicit_diff_solve must be None or a lineax solver, such as lineax.GMRES(rtol, atol) or lineax.LU(), "
                f"got {type(solver).__name__}; None solves a symmetric system by conjugate gradient."
            )
        if self.maxiter < 0:
            raise ValueError(f"maxiter must be nonnegative, got {self.maxiter}.")

    # Compiled once for each solver object, as jaxopt does with its steps: `fun` is traced for new shapes alone.
    @functools.cached_property
    def _compiled_solve(self) -> Callable:
        return eqx.filter_jit(lambda *args: self._solve(*args)) if self.jit else self._solve

    @functools.cached_property
    def _compiled_step(self) -> Callable:
        return eqx.filter_jit(lambda *args: self._step(*args)) if self.jit else self._step

    def _run_call(self, params: Params, call: Call) -> OptStep:
        return self._compiled_solve(_tree.as_inexact(params), _as_arrays(call))

    def _init_call(self, params: Params, call: Call) -> Any:
        params, call = _tree.as_inexact(params), _as_arrays(call)
        inner = self._start(self._problem(call), params, call)
        error = jnp.asarray(jnp.inf, _tree.dtype_of(params))
        return self._shown(jnp.asarray(0), error, self._aux(params, call), inner)

    def _update_call(self, params: Params, state: Any, call: Call) -> OptStep:
        return self._compiled_step(_tree.as_inexact(params), state, _as_arrays(call))

    def _residual(self, params: Params, call: Call) -> Params:
        params = _tree.as_inexact(params)
        fixed_point = self._problem(_as_arrays(call)).fixed_point(params, jnp.ones((), _tree.dtype_of(params)))
        return _tree.sub(fixed_point, params)

    def _solve(self, params: Params, call: Call) -> OptStep:
        adjoint: AbstractAdjoint = Implicit(self.implicit_diff_solve, tol=_ADJOINT_TOL)
        if not self.implicit_diff:
            adjoint = Unrolled()
        solution = solve(
            self._problem(call),
            self._method(),
            params,
            adjoint=adjoint,
            mode="while" if self.implicit_diff else "scan",
            progress=bool(self.verbose) and self.implicit_diff,
        )
        aux = self._aux(solution.params, call)
        state = self._shown(solution.num_steps, solution.error, aux, solution.state)
        return OptStep(solution.params, _tree.stop_gradient(state) if self.implicit_diff else state)

    def _step(self, params: Params, state: Any, call: Call) -> OptStep:
        problem, method = self._problem(call), self._method()
        if not self.implicit_diff:
            method = method.for_unrolling()
        new, inner = method.step(problem, params, state.inner)
        error = method.error(problem, new, inner)
        return OptStep(new, self._shown(state.iter_num + 1, error, self._aux(new, call), inner))

    def _smooth(self, call: Call) -> FunctionTerm:
        kinds = {"has_aux": self.has_aux, "value_and_grad": self.value_and_grad}
        return smooth_term(self.fun, call.args, call.kwargs, **kinds)

    def _aux(self, params: Params, call: Call) -> Any:
        kinds = {"has_aux": self.has_aux, "value_and_grad": self.value_and_grad}
        return aux_of(self.fun, params, call.args, call.kwargs, **kinds)


def require_callable(value: Any, name: str, example: str) -> None:
    """Raise `TypeError` for an argument that is not a function."""
    if not callable(value):
        raise TypeError(f"{name} must be a function {example}, got {type(value).__name__}.")


def is_positive(stepsize: Any) -> bool:
    """Whether a step size is fixed; one that is traced has to be."""
    known = concrete(stepsize)
    return known is None or bool(known > 0)


def _as_arrays(call: Call) -> Call:
    # Compiled once for all values of a strength; integers stay what they are, as counts and axes have to.
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, call)
