from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..implicit import Implicit
from ..penalties import L2Squared, Translated
from ..problems import AbstractProblem, Composite, Denoised
from ._base import AbstractSolver
from ._proximal_gradient import ProximalGradient
from ._settings import count_setting, tolerance_setting
from ._solve import solve


# The inner problem is strongly convex and starts warm: more steps than this are asked for by a rounding floor only.
_INNER_STEPS = 200


class PlugAndPlayState(eqx.Module):
    """State of `PlugAndPlay`.

    Attributes:
        multiplier: scaled multiplier of the constraint that both copies of the variable agree ("admm" alone).
        point: the copy that fits the data ("admm" alone); the start of its next search.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the residual.
    """

    multiplier: Params
    point: Params
    gradient_norm: Scalar
    error: Scalar


class PlugAndPlay(AbstractSolver):
    """Plug-and-play iterations for `problems.Denoised`: a proximal method whose prox is any denoiser D.

    "proximal_gradient" repeats `w = D(w - s grad f(w))`. "admm" repeats `x = D(v - u)`, `v = prox_{s f}(x + u)`,
    `u = u + x - v`, with f convex: dearer a step, since the prox of f is solved for (by accelerated gradient descent
    from the last one), and it may be much faster where f is ill-conditioned. Both have the same fixed points.

    If f is m-strongly convex with an L-Lipschitz gradient and `D - I` is e-Lipschitz, then (Ryu et al. 2019, theorems 1
    and 2) a step of the former contracts by `max(|1 - s m|, |1 - s L|) (1 + e)`, and one of the latter, in x + u, by
    `(1 + e + e s m + 2 e^2 s m) / (1 + s m + 2 e s m)`. Both contract for suitable s where e is small; neither
    need converge where it is not, and a run that does not ends honestly by `max_steps_reached` or `diverged`. See also
    `Denoised.contraction`.

    The error of the former is `|w_new - w| / s`, of the latter `|x_new - v| / s`, relative to `max(1, g)`, g the least
    norm of the gradient of f so far. Derivatives are those of the fixed-point equation, whose linear system is not
    symmetric: a dense factorization up to 256 unknowns, GMRES beyond.

    Venkatakrishnan, Bouman and Wohlberg, "Plug-and-play priors for model based reconstruction", 2013; Ryu, Liu, Wang,
    Chen, Wang and Yin, "Plug-and-play methods provably converge with properly trained denoisers", 2019.

    Args:
        method: "proximal_gradient" or "admm".
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> fit = jt.Quadratic(jnp.eye(2), -jnp.array([3.0, 1.0]))
        >>> shrink = lambda w: jt.penalties.L1(1.0).prox(w, 0.5)
        >>> problem = jt.problems.Denoised(fit, shrink, 0.5)
        >>> print(jt.solve(problem, jt.solvers.PlugAndPlay("admm"), jnp.zeros(2)).params.round(2))
        [2. 0.]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = Denoised

    tol: Scalar | None
    method: str = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        method: Literal["proximal_gradient", "admm"] = "proximal_gradient",
        *,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        if method not in ("proximal_gradient", "admm"):
            raise ValueError(f'method must be "proximal_gradient" or "admm", got {method!r}.')
        self.method = method
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Denoised, params: Params) -> PlugAndPlayState:
        dtype = _tree.dtype_of(params)
        multiplier, point = (), ()
        if self.method == "admm":
            # Such that a start at a solution stays there.
            multiplier = _tree.scale(problem.step_size.astype(dtype), problem.smooth.gradient(params))
            point = params
        infinite = jnp.asarray(jnp.inf, dtype)
        return PlugAndPlayState(multiplier, point, infinite, infinite)

    def step(self, problem: Denoised, params: Params, state: PlugAndPlayState) -> tuple[Params, PlugAndPlayState]:
        step_size = problem.step_size.astype(_tree.dtype_of(params))
        multiplier, point = state.multiplier, state.point
        if self.method == "admm":
            new = problem.denoise(_tree.sub(point, multiplier))
            total = _tree.add(new, multiplier)
            # To the copy of before: how far x + u moves. That of after may agree while both still creep.
            residual = _tree.norm(_tree.sub(new, point)) / step_size
            point = self._smooth_prox(problem, total, point)
            multiplier = _tree.sub(total, point)
            # The optimality of the prox: no other gradient is needed.
            gradient_norm = _tree.norm(multiplier) / step_size
        else:
            gradient = problem.smooth.gradient(params)
            new = problem.denoise(_tree.add_scaled(params, -step_size, gradient))
            residual = _tree.norm(_tree.sub(new, params)) / step_size
            gradient_norm = _tree.norm(gradient)
        gradient_norm = jnp.minimum(state.gradient_norm, gradient_norm)
        return new, PlugAndPlayState(multiplier, point, gradient_norm, residual / jnp.maximum(1, gradient_norm))

    def error(self, problem: Denoised, params: Params, state: PlugAndPlayState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Denoised, params: Params, state: PlugAndPlayState) -> Scalar:
        return problem.step_size.astype(_tree.dtype_of(params))

    def _smooth_prox(self, problem: Denoised, center: Params, start: Params) -> Params:
        """`argmin_v f(v) + |v - center|^2 / (2 s)`."""
        dtype = _tree.dtype_of(start)
        floor = 20 * float(jnp.finfo(dtype).eps)
        inner = ProximalGradient(tol=jnp.maximum(self.tolerance(start) / 100, floor), max_steps=_INNER_STEPS)
        near = Translated(L2Squared(1 / problem.step_size), center)
        return solve(Composite(problem.smooth, near), inner, start, adjoint=Implicit()).params
