from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._types import Params
from ._iterative_solver import IterativeSolver, require_callable
from ._opt_step import OptStep
from ._proximal_gradient import ProxGradState, ProximalGradient
from .prox import make_prox_from_projection


@dataclass(eq=False)
class ProjectedGradient(IterativeSolver):
    """jaxopt's `ProjectedGradient`: minimize `fun(params, *args, **kwargs)` over a convex set.

    `ProximalGradient` with the prox made from the projection; the other arguments are the same.

    Args:
        fun: smooth function.
        projection: `projection(x, hyperparams_proj)`, onto the set.

    Raises:
        TypeError: if `fun` or `projection` is no function, or `implicit_diff_solve` not a lineax solver.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop import jaxopt
        >>> data = (jnp.eye(2), jnp.array([3.0, -1.0]))
        >>> solver = jaxopt.ProjectedGradient(
        ...     jaxopt.objective.least_squares, jaxopt.projection.projection_non_negative, tol=1e-5
        ... )
        >>> print(solver.run(jnp.zeros(2), data=data).params.round(3))
        [3. 0.]
    """

    fun: Callable
    projection: Callable
    value_and_grad: bool = False
    has_aux: bool = False
    stepsize: Any = 0.0
    maxiter: int = 500
    maxls: int = 15
    tol: Any = 1e-3
    acceleration: bool = True
    decrease_factor: Any = 0.5
    verbose: Any = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    def __post_init__(self) -> None:
        require_callable(self.projection, "projection", "projection(x, hyperparams), such as projection_simplex")
        self._proximal = ProximalGradient(
            self.fun,
            make_prox_from_projection(self.projection),
            self.value_and_grad,
            self.has_aux,
            self.stepsize,
            self.maxiter,
            self.maxls,
            self.tol,
            self.acceleration,
            self.decrease_factor,
            self.verbose,
            self.implicit_diff,
            self.implicit_diff_solve,
            self.jit,
            self.unroll,
        )

    def init_state(self, init_params: Params, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> ProxGradState:
        """State before the first step; without the arguments of `fun` the search of the step size starts at one."""
        return self._proximal.init_state(init_params, hyperparams_proj, *args, **kwargs)

    def update(
        self, params: Params, state: ProxGradState, hyperparams_proj: Any = None, *args: Any, **kwargs: Any
    ) -> OptStep:
        """One step."""
        return self._proximal.update(params, state, hyperparams_proj, *args, **kwargs)

    def run(self, init_params: Params, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """Steps until `state.error` is at most `tol`, or `maxiter`."""
        return self._proximal.run(init_params, hyperparams_proj, *args, **kwargs)

    def optimality_fun(self, sol: Params, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> Params:
        """The residual `projection(sol - grad fun(sol), hyperparams_proj) - sol`, zero at a solution."""
        return self._proximal.optimality_fun(sol, hyperparams_proj, *args, **kwargs)
