"""Our solvers in the protocols of optimistix; imported only when asked for, since optimistix is an extra."""

from functools import partial
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import optimistix as optx

from .. import _tree
from .._types import Params, Scalar
from ..implicit import AbstractAdjoint, attach
from ..penalties import AbstractPenalty
from ..problems import Composite
from ..smooth import FunctionTerm
from ..solvers import AbstractSolver


class MinimiserState(eqx.Module):
    """State of `Minimiser`: that of our solver, with its last error."""

    inner: Any
    error: Scalar


class Minimiser(optx.AbstractMinimiser):
    """One of our solvers, with a penalty, as a minimizer of optimistix."""

    rtol: float
    atol: float
    norm: Any
    solver: AbstractSolver
    penalty: AbstractPenalty

    def __init__(self, solver: AbstractSolver, penalty: AbstractPenalty):
        # Required of every minimizer; the tolerance is that of our solver.
        self.rtol = self.atol = 0.0
        self.norm = optx.two_norm
        self.solver = solver
        self.penalty = penalty

    def problem(self, fn: Any, args: Any) -> Composite:
        return Composite(FunctionTerm(_first, fn, args), self.penalty)

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> MinimiserState:
        problem = self.problem(fn, args)
        self.solver.check(problem, y)
        return MinimiserState(self.solver.init(problem, y), jnp.asarray(jnp.inf, _tree.dtype_of(y)))

    def step(self, fn, y, args, options, state: MinimiserState, tags) -> tuple[Params, MinimiserState, Any]:
        problem = self.problem(fn, args)
        new, inner = self.solver.step(problem, y, state.inner)
        error = self.solver.error(problem, new, inner).astype(state.error.dtype)
        # As in our own loop, a step that is not finite ends the solve at the last iterate that is.
        finite = _tree.all_finite(new)
        new, error = _tree.where(finite, new, y), jnp.where(finite, error, jnp.nan)
        # Costs nothing where there is none.
        aux = fn(new, args)[1]
        return new, MinimiserState(inner, error), aux

    def terminate(self, fn, y, args, options, state: MinimiserState, tags) -> tuple[Any, Any]:
        broken = jnp.isnan(state.error)
        result = optx.RESULTS.where(broken, optx.RESULTS.nonfinite, optx.RESULTS.successful)
        return (state.error <= self.solver.tolerance(y)) | broken, result

    def postprocess(self, fn, y, aux, args, options, state: MinimiserState, tags, result) -> tuple[Params, Any, dict]:
        step = self.solver.fixed_point_step(self.problem(fn, args), y, state.inner)
        return y, aux, {"error": state.error, "fixed_point_step": step}


class Adjoint(optx.AbstractAdjoint):
    """One of our adjoints as one of optimistix, for solves by `Minimiser`."""

    adjoint: AbstractAdjoint

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        fn, solver, _, args, *_ = inputs
        if not isinstance(solver, Minimiser):
            raise TypeError(
                f"as_optimistix_adjoint is for solvers made by as_optimistix_minimiser, got {type(solver).__name__}; "
                "use optimistix.ImplicitAdjoint() with others."
            )
        frozen = _tree.stop_gradient(inputs)
        params, rest = primal_fn((*frozen, partial(eqxi.while_loop, kind="lax")))
        step = rest[-1]["fixed_point_step"]
        return attach(self.adjoint, solver.problem(fn, args), params, step, solver.solver.tolerance(params)), rest


def _first(params: Params, fn: Any, args: Any) -> Scalar:
    return fn(params, args)[0]
