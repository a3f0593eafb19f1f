from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ..problems import Composite, LeastSquares
from ..smooth import FunctionTerm
from ._base import AbstractSolver
from ._gauss_newton_system import check_form, choose_form, Form, GaussNewtonSystem, Iteration
from ._inverse_curvature import inverse_curvature
from ._relative_error import relative_error
from ._settings import count_setting, refuse_unrolling, tolerance_setting


class LevenbergMarquardtState(eqx.Module):
    """State of `LevenbergMarquardt`.

    Attributes:
        damping: multiple of the identity, or of `scale`, that the next step adds.
        growth: factor on the damping after the next failure; doubles with each one.
        gain: actual decrease over the predicted one at the last step; it was taken if this is positive.
        scale: largest diagonal of `J'W J` so far; None without scaling.
        direction: last direction, where the next conjugate gradient starts; None in the other forms.
        gradient_norm: least norm of the gradient so far, to which the error is relative.
        error: relative norm of the gradient.
    """

    damping: Scalar
    growth: Scalar
    gain: Scalar
    scale: Float[Array, " p"] | None
    direction: Params | None
    gradient_norm: Scalar
    error: Scalar


class LevenbergMarquardt(AbstractSolver):
    """Gauss-Newton steps damped by the gain ratio, for `problems.LeastSquares`; the objective never rises.

    Each step tries `w - (J'W J + eps D)^-1 J'e`, with J the Jacobian of the outputs, e and W the gradient and the
    Hessian of the loss in them. With rho the actual decrease over that of the model, a step of positive rho is taken
    and eps multiplied by `max(1/3, 1 - (2 rho - 1)^3)`; else the iterate stays and eps grows by 2, 4, 8, ... (Nielsen,
    1999). D is the identity, or with `scaled` the largest diagonal of `J'W J` so far (More, 1978), by which the units
    of the parameters do not matter. A rejected step costs as much as one that is taken.

    The error is the norm of the gradient, with `scaled` that of `D^-1/2` times it, relative to `max(1, g)`, g its least
    value so far.

    Args:
        damping: the first eps, relative to the curvature of the model along the gradient, or to D if `scaled`.
        scaled: damp by the diagonal; only in the dense form.
        form: "dense" factors a matrix in the p parameters, "dual" the kernel in the m outputs, "cg" neither; None takes
            the smaller of both, and "cg" where both have more than 4096 rows.
        chunk: rows of J that the dual form holds at a time; all by default.
        linear_tol: relative residual of conjugate gradient; by default it falls with the error, from 0.1.
        max_linear_steps: bound on the conjugate gradient steps of one step; 20 plus twice the number of parameters by
            default.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps, rejected ones included.

    Raises:
        ValueError: if a setting is out of range, if `scaled` meets another form than the dense one, or if conjugate
            gradient is to be unrolled.

    D. W. Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", 1963.
    H. B. Nielsen, "Damping parameter in Marquardt's method", 1999.
    J. J. More, "The Levenberg-Marquardt algorithm: implementation and theory", 1978.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> rosenbrock = jt.problems.LeastSquares(lambda w: jnp.array([10 * (w[1] - w[0] ** 2), 1 - w[0]]))
        >>> print(jt.solve(rosenbrock, jt.LevenbergMarquardt(), jnp.array([-1.2, 1.0])).params.round(3))
        [1. 1.]
    """

    problem_kind = LeastSquares

    damping: Scalar
    linear_tol: Scalar | None
    tol: Scalar | None
    scaled: bool = eqx.field(static=True)
    form: Form | None = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)
    max_linear_steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        damping: ArrayLike = 1e-3,
        *,
        scaled: bool = False,
        form: Form | None = None,
        chunk: int | None = None,
        linear_tol: ArrayLike | None = None,
        max_linear_steps: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        require_positive(damping, "damping")
        check_form(form, chunk, max_linear_steps)
        if scaled and form not in (None, "dense"):
            raise ValueError(f"scaled=True needs the dense form, got form={form!r}; pass form=None or scaled=False.")
        self.damping = _tree.setting(damping)
        self.scaled = scaled
        self.form = "dense" if scaled else form
        self.chunk = chunk
        self.linear_tol = tolerance_setting(linear_tol)
        self.max_linear_steps = max_linear_steps
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: LeastSquares, params: Params) -> LevenbergMarquardtState:
        form = choose_form(problem, params, self.form, factored=False)
        dtype = _tree.dtype_of(params)
        system = GaussNewtonSystem(problem, params, form, self.chunk)
        damping = self.damping.astype(dtype)
        if not self.scaled:
            squares = _tree.squared_norm(system.gradient)
            curvature = system.curvature(system.gradient) / jnp.where(squares > 0, squares, 1)
            damping = damping * jnp.where((curvature > 0) & jnp.isfinite(curvature), curvature, 1).astype(dtype)
        inf = jnp.asarray(jnp.inf, dtype)
        return LevenbergMarquardtState(
            damping=damping,
            growth=jnp.asarray(2.0, dtype),
            gain=jnp.zeros((), dtype),
            scale=jnp.zeros(system.flat_gradient.size, dtype) if self.scaled else None,
            direction=_tree.zeros_like(params) if form == "cg" else None,
            gradient_norm=inf,
            error=inf,
        )

    def step(
        self, problem: LeastSquares, params: Params, state: LevenbergMarquardtState
    ) -> tuple[Params, LevenbergMarquardtState]:
        form = choose_form(problem, params, self.form, factored=False)
        system = GaussNewtonSystem(problem, params, form, self.chunk)
        scale = state.scale
        if scale is None:
            iteration = Iteration(state.direction, state.error, self.linear_tol, self.max_linear_steps)
            direction = system.damped(state.damping, iteration)
        else:
            jacobian = system.jacobian()
            diagonal = system.diagonal(jacobian)
            scale = jnp.maximum(scale, diagonal)
            # A parameter without influence so far would not be damped at all.
            direction = system.damped(state.damping, scale=jnp.where(scale > 0, scale, 1), jacobian=jacobian)
        new = _tree.add(params, direction)
        outputs = problem.outputs(new)
        actual = problem.decrease(system.outputs, outputs).astype(state.gain.dtype)
        # By the model itself and not by (eps D d - J'e)'d / 2, which holds for exact solves only.
        predicted = -_tree.vdot(system.gradient, direction) - system.curvature(direction) / 2
        new_gradient = jax.grad(problem.value)(new)
        # Decreases that the rounding of the residuals may drown cannot tell a good step from a bad one; gradients can.
        noise = jnp.abs(problem.loss_value(system.outputs)) * jnp.finfo(actual.dtype).eps ** 0.75
        closer = _tree.squared_norm(new_gradient) < _tree.squared_norm(system.gradient)
        drowned = (predicted <= noise) & (jnp.abs(actual) <= noise) & closer
        gain = jnp.where(drowned, 1, actual / jnp.where(predicted > 0, predicted, 1))
        sound = _tree.all_finite(direction) & (predicted >= 0) & jnp.isfinite(actual)
        taken = sound & (gain > 0)
        factor = jnp.maximum(1 / 3, 1 - (2 * gain - 1) ** 3).astype(gain.dtype)
        params = _tree.where(taken, new, params)
        gradient = _tree.where(taken, new_gradient, system.gradient)
        if scale is not None:
            # In units of the residuals, whatever those of the parameters.
            units = jnp.sqrt(jnp.where(scale > 0, scale, 1))
            gradient = system.unravel(ravel_pytree(gradient)[0] / units)
        error, gradient_norm = relative_error(gradient, gradient, state.gradient_norm)
        return params, LevenbergMarquardtState(
            damping=state.damping * jnp.where(taken, factor, state.growth),
            growth=jnp.where(taken, 2, 2 * state.growth),
            gain=jnp.where(sound, gain, -jnp.inf),
            scale=scale,
            direction=_tree.where(taken, direction, state.direction) if form == "cg" else None,
            gradient_norm=gradient_norm,
            error=error,
        )

    def error(self, problem: LeastSquares, params: Params, state: LevenbergMarquardtState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: LeastSquares, params: Params, state: LevenbergMarquardtState) -> Scalar:
        return inverse_curvature(Composite(FunctionTerm(problem.value)), params)

    def for_unrolling(self) -> Self:
        if self.form == "cg":
            raise refuse_unrolling('LevenbergMarquardt(form="cg")')
        return self
