from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._loop import match_carry
from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative, require_positive
from ..problems import AbstractProblem, QuadraticPoint, QuadraticProgram
from ..problems._saddle_solve import saddle_solve
from ._base import AbstractSolver
from ._osqp_scaling import equilibrate, Equilibrated
from ._settings import count_setting, tolerance_setting


_STIFFER = 1e3
_SLACK = 1e-6
_RHO_RANGE = (1e-6, 1e6)


class OSQPState(eqx.Module):
    """State of `OSQP`, in the equilibrated variables.

    Attributes:
        scales: the equilibration of the program.
        x: primal iterate.
        z: its rows, between the bounds.
        y: dual iterate.
        rho: penalty of the rows.
        factor: lower Cholesky factor of `P + sigma I + A' diag(rho) A`.
        active: rows guessed active at the last step.
        error: the error of the solver.
        certificate: in the units of the program, the last change of the iterate: where `primal_infeasible`, its dual
            combines the rows to a contradiction; where `dual_infeasible`, the objective falls along its primal.
        primal_infeasible: whether no point keeps all rows.
        dual_infeasible: whether the objective is unbounded below, if any point keeps all rows.
    """

    scales: Equilibrated
    x: Float[Array, " n"]
    z: Float[Array, " m"]
    y: Float[Array, " m"]
    rho: Scalar
    factor: Float[Array, "n n"]
    active: Bool[Array, " m"]
    error: Scalar
    certificate: QuadraticPoint
    primal_infeasible: BoolScalar
    dual_infeasible: BoolScalar


class OSQP(AbstractSolver):
    """Operator splitting for a `QuadraticProgram`, with polish: exact on most programs after few steps.

    A step is a block of over-relaxed ADMM iterations on the equilibrated program, each with one pair of triangular
    solves. Then the penalty rho follows the ratio of the residuals, and is factored anew only where it has changed by
    `adapt_ratio`. Rows pressed to a bound twice in a row are held there and the optimality conditions solved directly
    (polish), the point being taken where its residuals are smaller; with equations alone this is one direct solve.

    With `v = A x + y`, r the largest entry of `A x - clip(v)`, s that of `P x + q + A'y`, and e the ratio `relative`,
    the error is the larger of `r / (1 + e max(|A x|, |clip(v)|))` and `s / (1 + e max(|P x|, |A'y|, |q|))`: the rule of
    the paper with `eps_abs = tol` and `eps_rel = relative * tol`. Where a change of the iterate certifies that no point
    keeps the rows, or that the objective is unbounded, the result is `RESULTS.infeasible`, and the state tells which.

    Stellato, Banjac, Goulart, Bemporad and Boyd, "OSQP: an operator splitting solver for quadratic programs", 2020.

    Args:
        rho: penalty to begin with.
        relaxation: over-relaxation, in (0, 2).
        relative: ratio of the relative tolerance to the absolute one.
        infeasibility_tol: relative tolerance of the certificates of infeasibility; 1e-6 in float64 and 1e-3 in float32
            by default.
        adapt_ratio: factor by which rho has to change to be factored anew; infinity keeps it.
        polish: solve on the guessed active rows.
        block: ADMM iterations a step.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.QuadraticProgram(jnp.eye(2), jnp.array([-3.0, 1.0]), jnp.eye(2), 0.0, 2.0)
        >>> solution = jt.solve(problem, jt.OSQP(), jnp.zeros(2))
        >>> print(solution.params.primal + 0.0, solution.params.dual)
        [2. 0.] [ 1. -1.]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = QuadraticProgram
    rho: Scalar
    relaxation: Scalar
    relative: Scalar
    infeasibility_tol: Scalar | None
    adapt_ratio: Scalar
    tol: Scalar | None
    polish: bool = eqx.field(static=True)
    block: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        rho: ArrayLike = 0.1,
        *,
        relaxation: ArrayLike = 1.6,
        relative: ArrayLike = 1.0,
        infeasibility_tol: ArrayLike | None = None,
        adapt_ratio: ArrayLike = 5.0,
        polish: bool = True,
        block: int = 25,
        tol: ArrayLike | None = None,
        max_steps: int = 2_000,
    ):
        require_positive(rho, "rho")
        require_positive(relaxation, "relaxation")
        require_positive(2 - jnp.asarray(relaxation, jnp.result_type(float)), "2 - relaxation")
        require_nonnegative(relative, "relative")
        require_nonnegative(jnp.asarray(adapt_ratio, jnp.result_type(float)) - 1, "adapt_ratio - 1")
        if infeasibility_tol is not None:
            require_positive(infeasibility_tol, "infeasibility_tol")
        self.rho = _tree.setting(rho)
        self.relaxation = _tree.setting(relaxation)
        self.relative = _tree.setting(relative)
        self.infeasibility_tol = None if infeasibility_tol is None else _tree.setting(infeasibility_tol)
        self.adapt_ratio = _tree.setting(adapt_ratio)
        self.tol = tolerance_setting(tol)
        self.polish = polish
        self.block = count_setting(block, "block", least=1)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: QuadraticProgram, params: QuadraticPoint) -> OSQPState:
        dtype = problem.q.dtype
        scales = equilibrate(problem)
        x = params.primal / scales.columns
        rho = self.rho.astype(dtype)
        return OSQPState(
            scales=scales,
            x=x,
            z=scales.rows * problem.clip(problem.A @ params.primal),
            y=scales.cost * params.dual / scales.rows,
            rho=rho,
            factor=_factor(problem, scales, rho),
            active=problem.is_equation,
            error=jnp.asarray(jnp.inf, dtype),
            certificate=_tree.zeros_like(params),
            primal_infeasible=jnp.asarray(False),
            dual_infeasible=jnp.asarray(False),
        )

    def step(
        self, problem: QuadraticProgram, params: QuadraticPoint, state: OSQPState
    ) -> tuple[QuadraticPoint, OSQPState]:
        scales = state.scales
        before, (x, z, y) = self._iterate(problem, state)
        point = scales.original(x, y)
        change = scales.original(x - before[0], y - before[1])
        primal_infeasible, dual_infeasible = self._certified(problem, change)

        rows = problem.A @ point.primal
        held = z / scales.rows
        pressed = (held - problem.lower < -point.dual) | (problem.upper - held < point.dual)
        active = pressed | problem.is_equation
        best, error = point, self._error(problem, point)
        if self.polish:
            # Guessed twice alike: a guess still moving is seldom right, and each costs a factorization.
            polished = lax.cond(jnp.all(active == state.active), lambda: _polish(problem, point, active), lambda: point)
            polished_error = self._error(problem, polished)
            better = polished_error < error
            best = _tree.where(better, polished, point)
            error = jnp.where(better, polished_error, error)

        # Changes that are rounding at a solution certify nothing.
        unsolved = error > self.tolerance(params)
        primal_infeasible, dual_infeasible = primal_infeasible & unsolved, dual_infeasible & unsolved
        rho = self._adapted(problem, point, rows, held, state)
        factor = lax.cond(rho != state.rho, lambda: _factor(problem, scales, rho), lambda: state.factor)
        return best, OSQPState(
            scales=scales,
            x=x,
            z=z,
            y=y,
            rho=rho,
            factor=factor,
            active=active,
            error=error,
            certificate=change,
            primal_infeasible=primal_infeasible,
            dual_infeasible=dual_infeasible,
        )

    def error(self, problem: QuadraticProgram, params: QuadraticPoint, state: OSQPState) -> Scalar:
        return state.error

    def is_infeasible(self, problem: QuadraticProgram, params: QuadraticPoint, state: OSQPState) -> BoolScalar:
        return state.primal_infeasible | state.dual_infeasible

    def _error(self, problem: QuadraticProgram, point: QuadraticPoint) -> Scalar:
        primal, dual, primal_size, dual_size = problem.residuals(point)
        relative = self.relative.astype(primal.dtype)
        return jnp.maximum(primal / (1 + relative * primal_size), dual / (1 + relative * dual_size))

    def _iterate(self, problem: QuadraticProgram, state: OSQPState) -> tuple[Any, Any]:
        """A block of ADMM iterations: the next to last x and y, and the last x, z and y."""
        scales, sigma = state.scales, _sigma(state.x)
        rho = _row_penalties(problem, state.rho)
        lower, upper = scales.rows * problem.lower, scales.rows * problem.upper
        q = scales.cost * scales.columns * problem.q
        alpha = self.relaxation.astype(state.x.dtype)

        def iterate(carry: Any, _: None) -> tuple[Any, None]:
            _, _, x, z, y = carry
            rhs = sigma * x - q + scales.transposed(problem, rho * z - y)
            raw = cho_solve((state.factor, True), rhs)
            relaxed = alpha * scales.forward(problem, raw) + (1 - alpha) * z
            shifted = relaxed + y / rho
            new_z = jnp.clip(shifted, lower, upper)
            return (x, y, alpha * raw + (1 - alpha) * x, new_z, rho * (shifted - new_z)), None

        carry = (state.x, state.y, state.x, state.z, state.y)
        carry = match_carry(lambda c: iterate(c, None)[0], carry)
        last_x, last_y, x, z, y = lax.scan(iterate, carry, None, length=self.block)[0]
        return (last_x, last_y), (x, z, y)

    def _adapted(
        self, problem: QuadraticProgram, point: QuadraticPoint, rows: Array, held: Array, state: OSQPState
    ) -> Scalar:
        scales = state.scales
        curved = problem.hessian @ point.primal
        pulled = problem.A.T @ point.dual
        unit = scales.cost * scales.columns
        primal = _ratio(scales.rows * (rows - held), scales.rows * rows, scales.rows * held)
        dual = _ratio(unit * (curved + problem.q + pulled), unit * curved, unit * pulled, unit * problem.q)
        known = (primal > 0) & (dual > 0)
        wanted = state.rho * jnp.sqrt(jnp.where(known, primal, 1) / jnp.where(known, dual, 1))
        wanted = jnp.clip(wanted, *_RHO_RANGE)
        ratio = self.adapt_ratio.astype(wanted.dtype)
        moved = (wanted > ratio * state.rho) | (ratio * wanted < state.rho)
        return jnp.where(moved, wanted, state.rho)

    def _certified(self, problem: QuadraticProgram, change: QuadraticPoint) -> tuple[BoolScalar, BoolScalar]:
        dtype = change.primal.dtype
        default = 1e2 * _tree.default_tolerance(dtype) if dtype == jnp.float64 else 10 * _tree.default_tolerance(dtype)
        tol = jnp.asarray(default, dtype) if self.infeasibility_tol is None else self.infeasibility_tol.astype(dtype)
        x, y = change.primal, change.dual
        x_size, y_size = _peak(x), _peak(y)
        support = jnp.sum(_product(problem.upper, jnp.maximum(y, 0)) + _product(problem.lower, jnp.minimum(y, 0)))
        # Of an infinite bound the multiplier is zero up to rounding.
        wrong = jnp.where(jnp.isposinf(problem.upper), jnp.maximum(y, 0), 0)
        wrong = wrong + jnp.where(jnp.isneginf(problem.lower), jnp.maximum(-y, 0), 0)
        balanced = jnp.maximum(_peak(problem.A.T @ y), _peak(wrong)) <= tol * y_size
        primal_infeasible = (y_size > 0) & balanced & (support < -tol * y_size)
        rows = problem.A @ x
        room = tol * x_size
        recedes = (jnp.isposinf(problem.upper) | (rows <= room)) & (jnp.isneginf(problem.lower) | (rows >= -room))
        flat = _peak(problem.hessian @ x) <= room
        falls = problem.q @ x < -room
        return primal_infeasible, (x_size > 0) & jnp.all(recedes) & flat & falls


def _polish(problem: QuadraticProgram, point: QuadraticPoint, active: Bool[Array, " m"]) -> QuadraticPoint:
    """The point moved so that active rows are at their bounds and the gradient vanishes."""
    x = point.primal
    y = jnp.where(active, point.dual, 0)
    bound = jnp.where(y < 0, problem.lower, problem.upper)
    bound = jnp.where(problem.is_equation, problem.upper, bound)
    highest = lax.Precision.HIGHEST
    slope = jnp.matmul(problem.hessian, x, precision=highest) + problem.q
    slope = slope + jnp.matmul(problem.A.T, y, precision=highest)
    short = jnp.where(active, bound - jnp.matmul(problem.A, x, precision=highest), 0)
    dx, dy = saddle_solve(problem.hessian, problem.A, active, -slope, short)
    x, y = x + dx, jnp.where(active, y + dy, 0)
    rows = jnp.matmul(problem.A, x, precision=highest)
    shifted = rows + y
    # A multiplier of the wrong sign is dropped, and shows in the residual.
    return QuadraticPoint(x, jnp.where(active, y, shifted - problem.clip(shifted)))


def _sigma(x: Array) -> float:
    return max(_SLACK, 100 * float(jnp.finfo(x.dtype).eps))


def _row_penalties(problem: QuadraticProgram, rho: Scalar) -> Float[Array, " m"]:
    free = jnp.isneginf(problem.lower) & jnp.isposinf(problem.upper)
    return jnp.where(free, _RHO_RANGE[0], jnp.where(problem.is_equation, _STIFFER * rho, rho))


def _factor(problem: QuadraticProgram, scales: Equilibrated, rho: Scalar) -> Float[Array, "n n"]:
    A = scales.rows[:, None] * problem.A * scales.columns[None, :]
    P = scales.cost * scales.columns[:, None] * problem.hessian * scales.columns[None, :]
    weighted = A * _row_penalties(problem, rho)[:, None]
    matrix = P + jnp.matmul(A.T, weighted, precision=lax.Precision.HIGHEST)
    return cho_factor(matrix + _sigma(A) * jnp.eye(A.shape[1], dtype=A.dtype), lower=True)[0]


def _ratio(residual: Array, *terms: Array) -> Scalar:
    size = jnp.stack([_peak(term) for term in terms]).max()
    return jnp.where(size > 0, _peak(residual) / jnp.where(size > 0, size, 1), 0)


def _product(bound: Array, y: Array) -> Array:
    """`bound * y`, zero where the bound is infinite."""
    finite = jnp.isfinite(bound)
    return jnp.where(finite, jnp.where(finite, bound, 0) * y, 0)


def _peak(x: Array) -> Scalar:
    return jnp.max(jnp.abs(x), initial=0)
