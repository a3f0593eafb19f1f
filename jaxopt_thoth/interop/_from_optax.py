from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..penalties import Zero
from ..problems import Composite
from ..solvers import AbstractSolver
from ..solvers._inverse_curvature import inverse_curvature
from ..solvers._relative_error import relative_error
from ..solvers._settings import count_setting, tolerance_setting


def from_optax(
    transformation: optax.GradientTransformation, *, tol: ArrayLike | None = None, max_steps: int = 10_000
) -> AbstractSolver:
    """An optax gradient transformation as a solver of smooth problems, or of smooth ones over a convex set.

    The penalty of the problem must be `Zero` or an indicator: the iterate is projected after each update. For a
    transformation that scales all entries alike (`optax.sgd`) that is the projected gradient method. One that scales
    them apart (`optax.adam`) agrees with it on sets that are products over the entries (a box, the orthant); on others,
    such as the simplex, its fixed points are no solutions, and the solve ends with `RESULTS.max_steps_reached`, since
    the error does not believe the updates: it is `|w - P(w - gradient)|`, relative to `max(1, g)`, g the least norm of
    the gradient so far. Line searches (`optax.lbfgs()`) get the value, the gradient and the function they ask for.

    Args:
        transformation: for example `optax.adam(1e-2)`; its own settings are part of the program, not leaves.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `transformation` is no gradient transformation.
        ValueError: if a setting is out of range; when it meets a penalty that is neither `Zero` nor an indicator.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> from jaxopt_thoth import interop
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, 1.0])), jt.penalties.NonNegative())
        >>> print(jt.solve(problem, interop.from_optax(optax.sgd(0.5)), jnp.zeros(2)).params.round(2))
        [3. 0.]
    """
    if not isinstance(transformation, optax.GradientTransformation):
        raise TypeError(
            f"transformation must be an optax.GradientTransformation, got {type(transformation).__name__}; "
            "pass for example optax.adam(1e-2)."
        )
    return _OptaxSolver(optax.with_extra_args_support(transformation), tol, max_steps)


class _OptaxState(eqx.Module):
    inner: Any
    value: Scalar
    gradient: Params
    gradient_norm: Scalar
    error: Scalar


class _OptaxSolver(AbstractSolver):
    transformation: optax.GradientTransformationExtraArgs
    tol: Scalar | None
    max_steps: int = eqx.field(static=True)

    def __init__(self, transformation: optax.GradientTransformationExtraArgs, tol: ArrayLike | None, max_steps: int):
        self.transformation = transformation
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Composite, params: Params) -> _OptaxState:
        if not (isinstance(problem.penalty, Zero) or problem.penalty.is_indicator):
            raise ValueError(
                f"from_optax needs the penalty Zero() or an indicator, got {type(problem.penalty).__name__}: an update "
                "that optax scales has no prox to go with it; use ProximalGradient()."
            )
        dtype = _tree.dtype_of(params)
        inf = jnp.asarray(jnp.inf, dtype)
        params = problem.penalty.prox(params, 1.0)
        value, gradient = problem.smooth.value_and_grad(params)
        return _OptaxState(self.transformation.init(params), value.astype(dtype), gradient, inf, inf)

    def step(self, problem: Composite, params: Params, state: _OptaxState) -> tuple[Params, _OptaxState]:
        params = problem.penalty.prox(params, 1.0)
        updates, inner = self.transformation.update(
            state.gradient,
            state.inner,
            params,
            value=state.value,
            grad=state.gradient,
            value_fn=problem.smooth.value,
        )
        new = problem.penalty.prox(optax.apply_updates(params, updates), 1.0)
        value, gradient = problem.smooth.value_and_grad(new)
        residual = _tree.sub(new, problem.penalty.prox(_tree.sub(new, gradient), 1.0))
        error, gradient_norm = relative_error(residual, gradient, state.gradient_norm)
        return new, _OptaxState(inner, value.astype(state.value.dtype), gradient, gradient_norm, error)

    def error(self, problem: Composite, params: Params, state: _OptaxState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Params, state: _OptaxState) -> Scalar:
        return inverse_curvature(problem, params)
