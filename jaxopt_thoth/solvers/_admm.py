from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_positive
from ..operators import AbstractOperator
from ..problems import AbstractProblem, Composite, SaddlePoint
from ..smooth import AbstractSmooth, LinearModel, Quadratic
from ._base import AbstractSolver
from ._settings import count_setting, tolerance_setting


# The rho is looked at after this many steps, and then each time that their number has doubled.
_FIRST_LOOK = 8


class ADMMState(eqx.Module):
    """State of `ADMM`.

    Attributes:
        splits: the copies `z` of x and, for a saddle point, of `K x / |K|`.
        duals: their multipliers.
        basis: columns that diagonalize Q and `E'E` together; made once.
        spectrum: the eigenvalues of Q in that basis, not less than zero.
        linear: gradient of f at zero.
        curvature: largest eigenvalue of Q.
        operator_norm: spectral norm of K, or 1 where it is zero and for a composite problem.
        rho: weight of the constraints.
        num_steps: steps so far.
        next_look: number of steps after which rho may change.
        error: larger of the two relative residuals.
    """

    splits: tuple[Array, ...]
    duals: tuple[Array, ...]
    basis: Float[Array, "p p"]
    spectrum: Float[Array, " p"]
    linear: Array
    curvature: Scalar
    operator_norm: Scalar
    rho: Scalar
    num_steps: IntScalar
    next_look: IntScalar
    error: Scalar


class ADMM(AbstractSolver):
    """The alternating direction method of multipliers where f is quadratic, with one factorization for every rho.

    For a `Composite` problem it splits `f(x) + g(z)` by `x = z`, for a `SaddlePoint` `f(x) + g(z) + h(v)` by `x = z`
    and `K x = v`, in units of the norm of K. The step in x solves `(Q + rho E'E) x = ...`, Q the Hessian of f and
    `E = (I, K / |K|)`: both matrices are diagonalized together once, in `O(p^3)`, so that a step costs two products
    (p, p) whatever rho, which may then adapt at no cost. x is a vector (p,) or a matrix (p, k), p some thousands at
    most.

    The stopping rule is that of Boyd et al. (2011, section 3.3.1), both tolerances `tol`: the error is the larger of
    `|r| / (sqrt(m) + max(|E x|, |z|))` and `|s| / (sqrt(n) + |E'y|)`, m and n the numbers of entries of z and x, r the
    primal and s the dual residual, and `|E'y|` the larger of its two parts. Rho moves to where they are equal, by at
    most a factor of ten, after 8, 16, 32, ... steps, so that the method with a fixed rho, which converges, has ever
    more steps between.

    The solution is z, which is in the set of g (and has exact zeros), and the multiplier of `K x = v` the dual
    variable. An infeasible problem ends by `max_steps_reached`.

    Args:
        rho: weight of the constraints at the start; None takes the geometric mean of the extreme eigenvalues of Q,
            the smaller one at least 1e-3 of the larger.
        relaxation: over-relaxation of `E x`, between 0 and 2; 1 is none, 1.6 customary.
        adaptive: let rho move.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range.
        TypeError: at a solve, if f is not a `Quadratic` or a `LinearModel` with a quadratic loss, or K a function.

    S. Boyd, N. Parikh, E. Chu, B. Peleato and J. Eckstein, "Distributed optimization and statistical learning via the
    alternating direction method of multipliers", 2011.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -1.0])), jt.penalties.L1(1.0))
        >>> print(jt.solve(problem, jt.ADMM(), jnp.zeros(2)).params.round(2))
        [2. 0.]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = AbstractProblem

    rho: Scalar | None
    relaxation: Scalar
    tol: Scalar | None
    adaptive: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        rho: ArrayLike | None = None,
        *,
        relaxation: ArrayLike = 1.6,
        adaptive: bool = True,
        tol: ArrayLike | None = None,
        max_steps: int = 20_000,
    ):
        if rho is not None:
            require_positive(rho, "rho")
        require_positive(relaxation, "relaxation")
        require_positive(2 - _tree.setting(relaxation), "2 - relaxation")
        self.rho = None if rho is None else _tree.setting(rho)
        self.relaxation = _tree.setting(relaxation)
        self.tol = tolerance_setting(tol)
        self.adaptive = adaptive
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Any, params: Params) -> None:
        if not isinstance(problem, Composite | SaddlePoint):
            raise TypeError(f"ADMM solves a Composite or a SaddlePoint, got a {type(problem).__name__}.")
        smooth = problem.smooth
        quadratic = isinstance(smooth, Quadratic) or (isinstance(smooth, LinearModel) and smooth.loss.is_quadratic)
        if smooth is not None and not quadratic:
            raise TypeError(
                f"ADMM needs a Quadratic, or a LinearModel with losses.Squared(), as smooth term, got "
                f"{type(smooth).__name__}; use ProximalGradient() or ChambollePock()."
            )
        if isinstance(problem, Composite):
            if not problem.penalty.is_convex:
                raise ValueError(f"ADMM needs a convex penalty, and {type(problem.penalty).__name__} is not.")
            return
        if problem.operator is not None and not isinstance(problem.operator, AbstractOperator):
            raise TypeError("ADMM needs the operator as a matrix, got a function; use ChambollePock().")
        if not eqx.is_array(params[0]) or params[0].ndim not in (1, 2):
            raise ValueError("ADMM needs x as a vector (p,) or a matrix (p, k); use ChambollePock() for a pytree.")

    def init(self, problem: Composite | SaddlePoint, params: Params) -> ADMMState:
        x, duals = (params, ()) if isinstance(problem, Composite) else (params[0], (params[1],))
        basis, spectrum, linear, curvature, operator_norm = _factor(problem, x)
        images = _stack(problem, x, operator_norm)
        if self.rho is None:
            top = spectrum[-1]
            rho = jnp.where(top > 0, jnp.sqrt(top * jnp.maximum(spectrum[0], 1e-3 * top)), 1)
        else:
            rho = self.rho.astype(x.dtype)
        return ADMMState(
            splits=images,
            duals=(jnp.zeros_like(x), *(operator_norm * y for y in duals)),
            basis=basis,
            spectrum=spectrum,
            linear=linear,
            curvature=curvature,
            operator_norm=operator_norm,
            rho=rho,
            num_steps=jnp.asarray(0, jnp.int32),
            next_look=jnp.asarray(_FIRST_LOOK, jnp.int32),
            error=jnp.asarray(jnp.inf, x.dtype),
        )

    def step(self, problem: Composite | SaddlePoint, params: Params, state: ADMMState) -> tuple[Params, ADMMState]:
        rho, splits, duals, unit = state.rho, state.splits, state.duals, state.operator_norm
        right = rho * _pull(problem, splits, unit) - _pull(problem, duals, unit) - state.linear
        scaled = _product(state.basis.T, right)
        weights = state.spectrum + rho
        x = _product(state.basis, scaled / weights.reshape(-1, *[1] * (scaled.ndim - 1)))
        images = _stack(problem, x, unit)
        relaxation = self.relaxation.astype(rho.dtype)
        relaxed = tuple(relaxation * a + (1 - relaxation) * z for a, z in zip(images, splits))
        moved = [a + y / rho for a, y in zip(relaxed, duals)]
        new_splits: tuple[Array, ...] = (problem.penalty.prox(moved[0], 1 / rho),)
        if isinstance(problem, SaddlePoint):
            new_splits += (problem.composed.prox(unit * moved[1], unit**2 / rho) / unit,)
        new_duals = tuple(rho * (v - z) for v, z in zip(moved, new_splits))

        # The gradient of the Lagrangian at x and the new multipliers.
        lag = tuple(z - new + (relaxation - 1) * (a - z) for a, z, new in zip(images, splits, new_splits))
        primal = _tree.norm(_tree.sub(images, new_splits))
        dual = rho * _tree.norm(_pull(problem, lag, unit))
        primal_size = jnp.maximum(_tree.norm(images), _tree.norm(new_splits))
        # The blocks apart: their sum is minus the gradient of f, and so zero without f.
        blocks = (
            new_duals if isinstance(problem, Composite) else (new_duals[0], _pull(problem, (0 * x, new_duals[1]), unit))
        )
        dual_size = jnp.stack([_tree.norm(block) for block in blocks]).max()
        entries = sum(z.size for z in splits)
        primal_error = primal / (entries**0.5 + primal_size)
        dual_error = dual / (x.size**0.5 + dual_size)
        num_steps = state.num_steps + 1
        look = num_steps >= state.next_look
        new_rho = rho
        if self.adaptive:
            told = look & (primal > 0) & (dual > 0) & (primal_size > 0) & (dual_size > 0)
            ratio = (primal * dual_size) / jnp.where(told, dual * primal_size, 1)
            change = jnp.clip(jnp.sqrt(jnp.where(told, ratio, 1)), 0.1, 10)
            new_rho = rho * jnp.where((change > 2) | (change < 0.5), change, 1)
        new_state = eqx.tree_at(
            lambda s: (s.splits, s.duals, s.rho, s.num_steps, s.next_look, s.error),
            state,
            (
                new_splits,
                new_duals,
                new_rho,
                num_steps,
                jnp.where(look, 2 * state.next_look, state.next_look),
                jnp.maximum(primal_error, dual_error),
            ),
        )
        return new_splits[0] if isinstance(problem, Composite) else (new_splits[0], new_duals[1] / unit), new_state

    def error(self, problem: Any, params: Params, state: ADMMState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Any, params: Params, state: ADMMState) -> Scalar:
        if isinstance(problem, Composite):
            return 1 / jnp.where(state.curvature > 0, state.curvature, 1)
        return 1 / (state.curvature + state.operator_norm)


def _stack(problem: Composite | SaddlePoint, x: Array, unit: Scalar) -> tuple[Array, ...]:
    """`E x`, the blocks of the constraint."""
    return (x,) if isinstance(problem, Composite) else (x, problem.image(x) / unit)


def _pull(problem: Composite | SaddlePoint, blocks: tuple[Array, ...], unit: Scalar) -> Array:
    """`E'` of the blocks."""
    if isinstance(problem, Composite):
        return blocks[0]
    return blocks[0] + problem.transposed_image(blocks[0], blocks[1]) / unit


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _factor(problem: Composite | SaddlePoint, x: Array) -> tuple[Array, Array, Array, Scalar, Scalar]:
    """Basis B and spectrum with `B'E'EB = I` and `B'QB` diagonal; the linear term, and the two norms."""
    size = x.shape[0]
    identity = jnp.eye(size, dtype=x.dtype)
    hessian, linear = _quadratic_parts(problem.smooth, x)
    zero = jnp.zeros((), x.dtype)
    if isinstance(problem, Composite):
        spectrum, basis = jnp.linalg.eigh(hessian)
        return basis, jnp.maximum(spectrum, 0), linear, jnp.maximum(spectrum[-1], 0), zero + 1
    operator = problem.operator
    columns = identity if operator is None else operator.columns(jnp.arange(size))  # type: ignore[union-attr]
    gram = _product(columns.T, columns)
    stretch = _tree.safe_sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0))
    stretch = jnp.where(stretch > 0, stretch, 1)
    lower = jnp.linalg.cholesky(identity + gram / stretch**2)
    solve = lambda b: jax.scipy.linalg.solve_triangular(lower, b, lower=True)
    reduced = solve(solve(hessian).T)
    spectrum, vectors = jnp.linalg.eigh((reduced + reduced.T) / 2)
    basis = jax.scipy.linalg.solve_triangular(lower, vectors, lower=True, trans="T")
    curvature = zero if problem.smooth is None else jnp.maximum(jnp.linalg.eigvalsh(hessian)[-1], 0)
    return basis, jnp.maximum(spectrum, 0), linear, curvature, stretch


def _quadratic_parts(smooth: AbstractSmooth | None, x: Array) -> tuple[Array, Array]:
    if isinstance(smooth, LinearModel):
        smooth = smooth.as_quadratic()
    if not isinstance(smooth, Quadratic):
        return jnp.zeros((x.shape[0], x.shape[0]), x.dtype), jnp.zeros_like(x)
    return smooth.matrix.columns(jnp.arange(x.shape[0])), smooth.vector
