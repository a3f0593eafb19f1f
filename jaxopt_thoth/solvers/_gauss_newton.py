from typing import Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..problems import Composite, LeastSquares
from ..smooth import FunctionTerm
from ._base import AbstractSolver
from ._gauss_newton_system import check_form, choose_form, Form, GaussNewtonSystem, Iteration
from ._inverse_curvature import inverse_curvature
from ._relative_error import relative_error
from ._settings import count_setting, refuse_unrolling, tolerance_setting


# Below which a damping by the least eigenvalue does not fall.
_LEAST_DAMPING = 1e-7
# Eigenvalues of a kernel carry errors of a few rounding units of the largest one.
_CUTOFF = {64: 1e-10, 32: 1e-5}


class GaussNewtonState(eqx.Module):
    """State of `GaussNewton`.

    Attributes:
        damping: multiple of the identity that the last step added.
        direction: last direction, where the next conjugate gradient starts; None in the other forms.
        gradient_norm: least norm of the gradient so far, to which the error is relative.
        error: relative norm of the gradient.
    """

    damping: Scalar
    direction: Params | None
    gradient_norm: Scalar
    error: Scalar


class GaussNewton(AbstractSolver):
    """Gauss-Newton steps `w - step (J'W J + eps I)^-1 J'e` for `problems.LeastSquares`, generalized to any convex loss.

    J is the Jacobian of the outputs, e the gradient of the loss in them and W its Hessian there. For a loss of natural
    parameters, such as softmax cross-entropy, `J'W J` is the Fisher matrix, and this the natural gradient. With half
    the squares, no damping and independent rows of J, a step of size `step_size` scales every residual by
    `1 - step_size` up to the curvature of the model, so that small steps follow `loss(t) = loss(0) exp(-2 t)`: the
    conditioning of the kernel `K = J J'` plays no part. Nothing guards a step; where they diverge, use
    `LevenbergMarquardt`.

    The error is the norm of the gradient relative to `max(1, g)`, g its least value so far.

    Args:
        step_size: factor on each step; 1 converges fastest near a solution of small residuals.
        damping: a number eps; or "min_eig", the least eigenvalue of `K` (of `R K R` with R the root of W), at least
            1e-7; or "truncate", no damping and the step of least norm, eigenvalues below `cutoff` times the largest
            taken for zero. Without damping the matrix must be regular: a step that is not finite ends the solve.
        form: "dense" factors a matrix in the p parameters, "dual" the kernel in the m outputs, "cg" neither; None takes
            the smaller of both, and "cg" where both have more than 4096 rows. The dual form asks the problem for its
            kernel (`problems.OneHiddenLayer` knows one that needs no Jacobian); where m exceeds p that is singular, and
            a small eps amplifies rounding.
        chunk: rows of J that the dual form holds at a time; all by default.
        cutoff: see "truncate"; 1e-10 in float64 and 1e-5 in float32 by default.
        linear_tol: relative residual of conjugate gradient; by default it falls with the error, from 0.1.
        max_linear_steps: bound on the conjugate gradient steps of one step; 20 plus twice the number of parameters by
            default.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range, if "cg" meets a damping that needs eigenvalues, or is to be unrolled.

    N. N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
    J. Martens, "Deep learning via Hessian-free optimization", 2010.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.problems.LeastSquares(lambda w: jnp.array([w[0] ** 2 + w[1] ** 2 - 2, w[0] - w[1]]))
        >>> print(jt.solve(problem, jt.GaussNewton(), jnp.array([2.0, 1.0])).params.round(3))
        [1. 1.]
    """

    problem_kind = LeastSquares

    step_size: Scalar
    damping: Scalar
    cutoff: Scalar | None
    linear_tol: Scalar | None
    tol: Scalar | None
    rule: str = eqx.field(static=True)
    form: Form | None = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)
    max_linear_steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: ArrayLike = 1.0,
        damping: ArrayLike | Literal["min_eig", "truncate"] = 0.0,
        *,
        form: Form | None = None,
        chunk: int | None = None,
        cutoff: ArrayLike | None = None,
        linear_tol: ArrayLike | None = None,
        max_linear_steps: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        require_positive(step_size, "step_size")
        self.rule = damping if isinstance(damping, str) else "fixed"
        if self.rule not in ("fixed", "min_eig", "truncate"):
            raise ValueError(f'damping must be a number, "min_eig" or "truncate", got {damping!r}.')
        number = _LEAST_DAMPING if isinstance(damping, str) else damping
        require_nonnegative(number, "damping")
        check_form(form, chunk, max_linear_steps)
        if form == "cg" and self.rule != "fixed":
            raise ValueError(f'form "cg" has no eigenvalues, got damping={damping!r}; pass a number, or form="dual".')
        self.step_size = _tree.setting(step_size)
        self.damping = _tree.setting(number)
        self.cutoff = tolerance_setting(cutoff)
        self.linear_tol = tolerance_setting(linear_tol)
        self.form = form
        self.chunk = chunk
        self.max_linear_steps = max_linear_steps
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: LeastSquares, params: Params) -> GaussNewtonState:
        inf = jnp.asarray(jnp.inf, _tree.dtype_of(params))
        warm = self._form(problem, params) == "cg"
        direction = _tree.zeros_like(params) if warm else None
        return GaussNewtonState(self.damping.astype(inf.dtype), direction, inf, inf)

    def step(self, problem: LeastSquares, params: Params, state: GaussNewtonState) -> tuple[Params, GaussNewtonState]:
        form = self._form(problem, params)
        system = GaussNewtonSystem(problem, params, form, self.chunk)
        dtype = state.error.dtype
        eps = self.damping.astype(dtype)
        if self.rule == "min_eig":
            direction, eps = system.least_damped(eps)
        elif self.rule == "truncate":
            cutoff = _CUTOFF.get(jnp.finfo(dtype).bits, 1e-2) if self.cutoff is None else self.cutoff
            direction = system.least_norm(jnp.asarray(cutoff, dtype))
        else:
            iteration = Iteration(state.direction, state.error, self.linear_tol, self.max_linear_steps)
            direction = system.damped(eps, iteration)
        new = _tree.add_scaled(params, self.step_size.astype(dtype), direction)
        gradient = jax.grad(problem.value)(new)
        error, gradient_norm = relative_error(gradient, gradient, state.gradient_norm)
        kept = direction if form == "cg" else None
        return new, GaussNewtonState(eps.astype(dtype), kept, gradient_norm, error)

    def error(self, problem: LeastSquares, params: Params, state: GaussNewtonState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: LeastSquares, params: Params, state: GaussNewtonState) -> Scalar:
        return inverse_curvature(Composite(FunctionTerm(problem.value)), params)

    def for_unrolling(self) -> Self:
        if self.form == "cg":
            raise refuse_unrolling('GaussNewton(form="cg")')
        return self

    def _form(self, problem: LeastSquares, params: Params) -> Form:
        return choose_form(problem, params, self.form, factored=self.rule != "fixed")
