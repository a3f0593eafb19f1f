from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from ... import _tree
from ..._loop import match_carry
from ..._types import IntScalar, Params, Scalar
from ...problems import Composite
from ...solvers import AbstractSolver
from ._iterative_solver import Call, IterativeSolver, require_callable
from ._opt_step import OptStep
from ._terms import ProxPenalty
from .objective import CompositeLinearFunction


class RowSweepState(eqx.Module):
    """State of `RowSweeps`: a step size for each row, and the norm of the residual."""

    step_sizes: Float[Array, " p"]
    error: Scalar


class RowSweeps(AbstractSolver):
    """Cyclic block coordinate descent over the rows of the parameters, with a prox that is given for one row."""

    objective: CompositeLinearFunction = eqx.field(static=True)
    block_prox: Callable[..., Array] = eqx.field(static=True)
    tol: Scalar
    max_steps: int = eqx.field(static=True)

    def init(self, problem: Any, params: Float[Array, "p *k"]) -> RowSweepState:
        args, kwargs = problem.smooth.args
        curvatures = jnp.asarray(self.objective.columnwise_lipschitz_const(*args, **kwargs)).astype(params.dtype)
        # A column of zeros leaves its row to the prox, at a long step.
        peak = jnp.max(curvatures, initial=0)
        floor = jnp.where(peak > 0, float(jnp.finfo(params.dtype).eps) * peak, 1)
        return RowSweepState(1 / jnp.maximum(curvatures, floor), jnp.asarray(jnp.inf, params.dtype))

    def step(
        self, problem: Any, params: Float[Array, "p *k"], state: RowSweepState
    ) -> tuple[Float[Array, "p *k"], RowSweepState]:
        args, kwargs = problem.smooth.args
        linop = self.objective.make_linop(*args, **kwargs)
        slope = jax.grad(lambda predictions: self.objective.subfun(predictions, *args, **kwargs))
        linear = self.objective.b(*args, **kwargs)

        def update(carry: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], None]:
            params, predictions = carry
            gradient = linop.rmatvec_element(slope(predictions), row)
            if linear is not None:
                gradient = gradient + jnp.asarray(linear, params.dtype)[row]
            step_size = state.step_sizes[row]
            new = self.block_prox(params[row] - step_size * gradient, problem.penalty.hyperparams, step_size)
            predictions = linop.update_matvec(predictions, new - params[row], row)
            return (params.at[row].set(new), predictions), None

        rows = jnp.arange(params.shape[0])
        # Predictions anew, or the rounding of many updates would add up.
        start = match_carry(lambda carry: update(carry, rows[0])[0], (params, linop.matvec(params)))
        (new, _), _ = lax.scan(update, start, rows)
        return new, RowSweepState(state.step_sizes, _tree.norm(problem.optimality(new, 1.0)))

    def error(self, problem: Any, params: Params, state: RowSweepState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: RowSweepState) -> Scalar:
        return jnp.min(state.step_sizes)


class BlockCDState(NamedTuple):
    """State of `BlockCoordinateDescent`.

    Attributes:
        iter_num: number of epochs.
        error: `l2_optimality_error` after the last one.
        inner: state of the method that runs.
    """

    iter_num: IntScalar
    error: Scalar
    inner: RowSweepState


@dataclass(eq=False)
class BlockCoordinateDescent(IterativeSolver):
    """jaxopt's `BlockCoordinateDescent`: minimize `fun(params, *args) + sum_i g(params[i], hyperparams_prox)`.

    Where the problem is one of ours, `jt.BlockCoordinateDescent` is the better choice: it knows groups, and orders of
    the blocks other than the cyclic one. `run` is differentiable in `hyperparams_prox` and all further arguments.

    Unlike jaxopt's, `state.error` is `l2_optimality_error` itself instead of the length of the last epoch, and the
    steps are as long as the curvature allows: jaxopt leaves the mean of its objectives out of their constants.

    Args:
        fun: an `objective.CompositeLinearFunction`.
        block_prox: `block_prox(params[i], hyperparams_prox, scaling)`, the prox of a convex g of one row.
        maxiter: bound on the number of epochs.
        tol: tolerance on `state.error`, absolute.
        verbose: print the error every few epochs.
        implicit_diff: implicit derivatives; False differentiates the epochs, at the cost of `maxiter` of them.
        implicit_diff_solve: a lineax solver; None takes the symmetrized conjugate gradient of `Implicit`.
        jit: compile `run` and `update` once for this object; False compiles the loop anew at each run.
        unroll: not used.

    Raises:
        AttributeError: if `fun` is not a `CompositeLinearFunction`.
        TypeError: if `block_prox` is no function, or `implicit_diff_solve` not a lineax solver.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop import jaxopt
        >>> data = (jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> solver = jaxopt.BlockCoordinateDescent(jaxopt.objective.least_squares, jaxopt.prox.prox_lasso)
        >>> print(solver.run(jnp.zeros(2), 0.5, data).params.round(3))
        [2. 0.]
    """

    fun: CompositeLinearFunction
    block_prox: Callable
    maxiter: int = 500
    tol: Any = 1e-4
    verbose: Any = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    def __post_init__(self) -> None:
        # The kind of error that jaxopt raises here.
        if not isinstance(self.fun, CompositeLinearFunction):
            raise AttributeError(
                "fun must be an objective.CompositeLinearFunction, such as objective.least_squares, got "
                f"{type(self.fun).__name__}; subclass it, or use ProximalGradient."
            )
        require_callable(self.block_prox, "block_prox", "block_prox(x, hyperparams, scaling), such as prox.prox_lasso")
        self._check()
        block_prox = self.block_prox

        def prox(x: Array, hyperparams: Any, scaling: ArrayLike) -> Array:
            return jax.vmap(lambda row: block_prox(row, hyperparams, scaling))(x)

        self._prox = prox

    def init_state(self, init_params: Params, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> BlockCDState:
        """State before the first epoch."""
        return self._init_call(init_params, Call(hyperparams_prox, args, kwargs))

    def update(
        self, params: Params, state: BlockCDState, hyperparams_prox: Any = None, *args: Any, **kwargs: Any
    ) -> OptStep:
        """One epoch."""
        return self._update_call(params, state, Call(hyperparams_prox, args, kwargs))

    def run(self, init_params: Params, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """Epochs until `state.error` is at most `tol`, or `maxiter`."""
        return self._run_call(init_params, Call(hyperparams_prox, args, kwargs))

    def optimality_fun(self, params: Params, hyperparams_prox: Any = None, *args: Any, **kwargs: Any) -> Params:
        """The residual `prox(params - grad fun(params), hyperparams_prox, 1) - params`, zero at a solution."""
        return self._residual(params, Call(hyperparams_prox, args, kwargs))

    def _problem(self, call: Call) -> Composite:
        return Composite(self._smooth(call), ProxPenalty(self._prox, call.hyperparams))

    def _method(self) -> RowSweeps:
        return RowSweeps(
            objective=self.fun, block_prox=self.block_prox, tol=_tree.setting(self.tol), max_steps=self.maxiter
        )

    def _shown(self, iter_num: Any, error: Scalar, aux: Any, inner: RowSweepState) -> BlockCDState:
        return BlockCDState(iter_num, error, inner)
