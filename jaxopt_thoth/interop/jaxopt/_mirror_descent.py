from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from ... import _tree
from ..._types import IntScalar, Params, Scalar
from ..._validate import require_positive
from ...problems import AbstractProblem
from ...smooth import AbstractSmooth
from ...solvers import AbstractSolver
from ._iterative_solver import Call, IterativeSolver, require_callable
from ._opt_step import OptStep


class MirrorProblem(AbstractProblem):
    """A smooth term, minimized over a set that is known by its mirror step alone."""

    smooth: AbstractSmooth
    projection_grad: Callable[..., Params] = eqx.field(static=True)
    hyperparams: Any

    def value(self, params: Params) -> Scalar:
        return self.smooth.value(params)

    def fixed_point(self, params: Params, step: ArrayLike) -> Params:
        return self.projection_grad(params, self.smooth.gradient(params), step, self.hyperparams)

    def closed(self, params: Params) -> Self:
        return eqx.tree_at(lambda p: p.smooth, self, self.smooth.closed(params))

    def check(self, params: Params) -> Params:
        return self.smooth.check(_tree.as_inexact(params))


class MirrorSteps(AbstractSolver):
    """Mirror steps of given sizes; the error is the length of a step over its size."""

    problem_kind = MirrorProblem

    step_size: Scalar | None
    tol: Scalar
    schedule: Callable[[Array], ArrayLike] | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def init(self, problem: Any, params: Params) -> tuple[Scalar, IntScalar]:
        return jnp.asarray(jnp.inf, _tree.dtype_of(params)), jnp.zeros((), jnp.int32)

    def step(self, problem: Any, params: Params, state: Any) -> tuple[Params, tuple[Scalar, IntScalar]]:
        _, count = state
        step_size = self.step_size if self.schedule is None else jnp.asarray(self.schedule(count))
        assert step_size is not None
        step_size = step_size.astype(_tree.dtype_of(params))
        new = problem.fixed_point(params, step_size)
        return new, (_tree.norm(_tree.sub(new, params)) / step_size, count + 1)

    def error(self, problem: Any, params: Params, state: Any) -> Scalar:
        return state[0]


class MirrorDescentState(NamedTuple):
    """State of `MirrorDescent`.

    Attributes:
        iter_num: number of steps taken.
        error: length of the last step over its size.
        aux: what `fun` returned beside its value at the iterate; None without `has_aux`.
        inner: state of the method that runs.
    """

    iter_num: IntScalar
    error: Scalar
    aux: Any
    inner: tuple[Scalar, IntScalar]


@dataclass(eq=False)
class MirrorDescent(IterativeSolver):
    """jaxopt's `MirrorDescent`: minimize `fun(params, *args, **kwargs)` by steps of your own `projection_grad`.

    Where the geometry is one of `jt.mirror`, `jt.MirrorDescent(mirror_map)` is the better choice: it searches for its
    step sizes and measures optimality. `run` is differentiable in `hyperparams_proj` and all further arguments.

    Args:
        fun: smooth function.
        projection_grad: `projection_grad(x, gradient, stepsize, hyperparams_proj)`, the step from x.
        stepsize: a positive number, or a function of the number of steps taken.
        maxiter: bound on the number of steps.
        tol: tolerance on `state.error`, absolute.
        verbose: print the error every few steps.
        implicit_diff: implicit derivatives, by the fixed point of the step; False differentiates the steps.
        implicit_diff_solve: a lineax solver; None factors up to 256 unknowns and takes GMRES beyond.
        has_aux: whether `fun` returns `(value, aux)`; `state.aux` belongs to the parameters that are returned.
        jit: compile `run` and `update` once for this object; False compiles the loop anew at each run.
        unroll: not used.

    Raises:
        TypeError: if `fun` or `projection_grad` is no function, or `implicit_diff_solve` not a lineax solver.
        ValueError: for a step size that is known not to be positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth.interop import jaxopt
        >>> step = lambda x, gradient, stepsize, _: jax.nn.softmax(jnp.log(x) - stepsize * gradient)
        >>> fun = lambda x: jnp.sum((x - jnp.array([0.6, 0.6, 0.0])) ** 2)
        >>> solver = jaxopt.MirrorDescent(fun, step, stepsize=0.5, tol=1e-5)
        >>> print(solver.run(jnp.full(3, 1 / 3)).params.round(2))
        [0.5 0.5 0. ]
    """

    fun: Callable
    projection_grad: Callable
    stepsize: Any
    maxiter: int = 500
    tol: Any = 1e-2
    verbose: Any = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    has_aux: bool = False
    jit: bool = True
    unroll: Any = "auto"

    def __post_init__(self) -> None:
        require_callable(self.fun, "fun", "fun(params, *args)")
        require_callable(
            self.projection_grad,
            "projection_grad",
            "projection_grad(x, gradient, stepsize, hyperparams), such as MirrorDescent.make_projection_grad makes",
        )
        if not callable(self.stepsize):
            require_positive(self.stepsize, "stepsize")
        self._check()

    @staticmethod
    def make_projection_grad(projection: Callable[..., Params], mapping_fun: Callable[[Params], Params]) -> Callable:
        """The step `projection(mapping_fun(x) - stepsize * gradient, hyperparams_proj)`, projection from the dual."""

        def projection_grad(x: Params, gradient: Params, stepsize: ArrayLike, hyperparams_proj: Any) -> Params:
            return projection(_tree.add_scaled(mapping_fun(x), -jnp.asarray(stepsize), gradient), hyperparams_proj)

        return projection_grad

    def init_state(
        self, init_params: Params, hyperparams_proj: Any = None, *args: Any, **kwargs: Any
    ) -> MirrorDescentState:
        """State before the first step."""
        return self._init_call(init_params, Call(hyperparams_proj, args, kwargs))

    def update(
        self, params: Params, state: MirrorDescentState, hyperparams_proj: Any = None, *args: Any, **kwargs: Any
    ) -> OptStep:
        """One step."""
        return self._update_call(params, state, Call(hyperparams_proj, args, kwargs))

    def run(self, init_params: Params, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """Steps until `state.error` is at most `tol`, or `maxiter`."""
        return self._run_call(init_params, Call(hyperparams_proj, args, kwargs))

    def optimality_fun(self, sol: Params, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> Params:
        """The residual `projection_grad(sol, grad fun(sol), 1, hyperparams_proj) - sol`, zero at a solution."""
        return self._residual(sol, Call(hyperparams_proj, args, kwargs))

    def _problem(self, call: Call) -> MirrorProblem:
        return MirrorProblem(self._smooth(call), self.projection_grad, call.hyperparams)

    def _method(self) -> MirrorSteps:
        schedule = self.stepsize if callable(self.stepsize) else None
        step_size = None if callable(self.stepsize) else _tree.setting(self.stepsize)
        return MirrorSteps(step_size=step_size, tol=_tree.setting(self.tol), schedule=schedule, max_steps=self.maxiter)

    def _shown(self, iter_num: Any, error: Scalar, aux: Any, inner: Any) -> MirrorDescentState:
        return MirrorDescentState(iter_num, error, aux, inner)
