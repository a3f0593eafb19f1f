from typing import Any

import equinox as eqx

from .. import _tree
from .._loop import Mode, Progress, run_loop
from .._result import RESULTS, Solution
from .._types import BoolScalar, IntScalar, Params, Scalar, State
from ..implicit import AbstractAdjoint, attach, Implicit
from ..problems import AbstractProblem
from ..stopping import AbstractStop, Step
from ._base import AbstractSolver


def solve(
    problem: AbstractProblem,
    solver: AbstractSolver,
    params: Params,
    *,
    stop: AbstractStop | None = None,
    adjoint: AbstractAdjoint | None = None,
    mode: Mode = "while",
    history: bool = False,
    progress: Progress | bool | None = None,
    throw: bool = False,
) -> Solution:
    """Solve a problem, such as a composite objective: a pure function of pytrees to compile, batch and differentiate.

    Args:
        problem: for example a `Composite` objective; derivatives flow to its array leaves.
        solver: the method with its settings, for example `ProximalGradient()`.
        params: starting point, an array or pytree of arrays; the solution has no derivative in it.
        stop: stopping criterion that replaces the solver's own error and tolerance.
        adjoint: how derivatives flow through the solution; `implicit.Implicit()` by default.
        mode: "while" (fastest), "scan" (always `max_steps` long) or "checkpointed".
        history: record objective and error after each step in `Solution.history`.
        progress: True to print, or a function `progress(num_steps, error)` called every few steps on the host. Report
            progress of a batch with `solve_batched` instead: inside `vmap` it would be called for each row.
        throw: raise a runtime error unless every solve converged; with False look at `Solution.result`.

    Raises:
        TypeError: if `problem`, `solver`, `stop` or `adjoint` is of another kind.
        ValueError: if `params` does not fit the problem, or the mode cannot do what is asked.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -1.0])), jt.penalties.L1(1.0))
        >>> solution = jt.solve(problem, jt.ProximalGradient(), jnp.zeros(2))
        >>> print(solution.params.round(), bool(solution.result == jt.RESULTS.converged))
        [2. 0.] True
    """
    adjoint = Implicit() if adjoint is None else adjoint
    require_parts(problem, solver, stop, adjoint)
    params = problem.check(params)
    solver.check(problem, params)
    problem = problem.closed(params)
    report = _print_progress if progress is True else (progress or None)
    solution = _solve(problem, solver, params, stop, adjoint, mode, history, report)
    if throw:
        solution = solution.result.error_if(solution, solution.result != RESULTS.converged)
    return solution


def require_parts(problem: Any, solver: Any, stop: Any, adjoint: Any) -> None:
    """Raise `TypeError` for an argument that is not of its kind."""
    _require(solver, AbstractSolver, "solver", "ProximalGradient()")
    kind = solver.problem_kind
    if not isinstance(problem, AbstractProblem):
        _require(problem, kind, "problem", "Composite(smooth, penalty)")
    if not isinstance(problem, kind):
        raise TypeError(
            f"{type(solver).__name__} solves a {kind.__name__}, got a {type(problem).__name__}; pass another solver."
        )
    _require(adjoint, AbstractAdjoint, "adjoint", "implicit.Implicit()")
    if stop is not None:
        _require(stop, AbstractStop, "stop", "stopping.DualityGap(1e-6)")


def _require(value: Any, kind: type, name: str, example: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}; pass for example {example}.")


def _print_progress(num_steps: Any, error: Any) -> None:
    print(f"step {int(num_steps)}: error {float(error):.3e}", flush=True)


# Compiled here as well as by the caller: without it, each call outside of jit would trace and compile anew.
@eqx.filter_jit
def _solve(
    problem: AbstractProblem,
    solver: AbstractSolver,
    params: Params,
    stop: AbstractStop | None,
    adjoint: AbstractAdjoint,
    mode: Mode,
    history: bool,
    progress: Progress | None,
) -> Solution:
    if adjoint.unrolls:
        return _run(problem, solver.for_unrolling(), params, stop, adjoint, mode, history, progress)
    solution, step, tol = solve_frozen(problem, solver, params, stop, adjoint, mode, history, progress)
    return eqx.tree_at(lambda s: s.params, solution, attach(adjoint, problem, solution.params, step, tol))


def solve_frozen(
    problem: AbstractProblem,
    solver: AbstractSolver,
    params: Params,
    stop: AbstractStop | None,
    adjoint: AbstractAdjoint,
    mode: Mode = "while",
    history: bool = False,
    progress: Progress | None = None,
) -> tuple[Solution, Scalar, Scalar]:
    """The solution as a constant, with the step and tolerance by which `implicit.attach` makes it differentiable."""
    problem, solver, params, stop = _tree.stop_gradient((problem, solver, params, stop))
    solution = _run(problem, solver, params, stop, adjoint, mode, history, progress)
    tol = solver.tolerance(params)
    step = solver.fixed_point_step(problem, solution.params, solution.state)
    return solution, step, tol


def _run(
    problem: AbstractProblem,
    solver: AbstractSolver,
    params: Params,
    stop: AbstractStop | None,
    adjoint: AbstractAdjoint,
    mode: Mode,
    history: bool,
    progress: Progress | None,
) -> Solution:
    tol = solver.tolerance(params)
    if adjoint.unrolls and mode == "while":
        mode = "checkpointed"

    def measure(
        new: Params, state: State, old: Params, num_steps: IntScalar, last_error: Scalar
    ) -> tuple[Scalar, BoolScalar]:
        error = solver.error(problem, new, state)
        if stop is None:
            shown, done = error, error <= tol
        else:
            shown, done = stop(problem, Step(new, old, error, num_steps, last_error))
        return shown, done | solver.is_infeasible(problem, new, state)

    run, record = run_loop(
        lambda params, state: solver.step(problem, params, state),
        measure,
        params,
        solver.init(problem, params),
        max_steps=solver.max_steps,
        mode=mode,
        checkpoints=getattr(adjoint, "checkpoints", None),
        objective=problem.value if history else None,
        feasible=problem.is_feasible(params),
        progress=progress,
        error_shows_nan=solver.error_shows_nan and stop is None,
    )
    hopeless = (run.result == RESULTS.converged) & solver.is_infeasible(problem, run.params, run.state)
    result = RESULTS.where(hopeless, RESULTS.infeasible, run.result)
    return Solution(run.params, run.state, run.num_steps, run.error, result, record)
