from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import ArrayLike

from .. import _tree
from .._result import RESULTS
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import require_positive
from ..solvers import AbstractSolver, ProximalGradient, solve
from ..solvers._settings import count_setting, tolerance_setting
from ..stopping import FixedPointResidual
from ._base import AbstractBilevelSolver, outer_error, outer_step, require_inner_solver, require_optimizer
from ._bilevel import Bilevel, BilevelPoint
from ._hypergradient import Hypergradient, hypergradient


Schedule = Literal["exponential", "quadratic", "cubic", "exact"]


def _exact(dtype: Any) -> float:
    """The tolerance that rounding allows."""
    return 1e-12 if jnp.finfo(dtype).bits > 32 else 1e-5


class HOAGState(eqx.Module):
    """State of `HOAG`.

    Attributes:
        found: hypergradient at the current point.
        curvature: inverse step size of the outer variable.
        tolerance: relative tolerance to which the current point was solved.
        factor: product of the shrinkages of the tolerance after rejected steps.
        unit: inner residual at the start or at zero, whichever is larger: the unit of the tolerances.
        count: number of outer steps tried.
        inner_steps: inner steps taken so far.
        inner_converged: whether every inner solve met its tolerance.
        optimizer: state of the outer optimizer, if there is one.
    """

    found: Hypergradient
    curvature: Scalar
    tolerance: Scalar
    factor: Scalar
    unit: Scalar
    count: IntScalar
    inner_steps: IntScalar
    inner_converged: BoolScalar
    optimizer: Any


class HOAG(AbstractBilevelSolver):
    """Hyper-parameter optimization with approximate gradients of summable errors, and a step size that adapts.

    The k-th outer step solves the inner problem and the adjoint system, both from where they were, to a tolerance
    eps_k that is summable; then the outer variable moves by 1/L along the hypergradient. With s the length of the last
    move, L falls by 5 per cent if `F_k <= F_{k-1} + eps_k/4 + 5/4 eps_{k-1} s - L s^2`; where F has risen by more than
    a fifth the move is taken back, L doubled and the tolerance halved. Composite inner problems are fine.

    Pedregosa, "Hyperparameter optimization with approximate gradient", 2016.

    Args:
        optimizer: optax transformation in the place of the adaptive step; no move is then taken back.
        inner_solver: solver of the inner problem; `ProximalGradient()` by default.
        schedule: "exponential" (eps 0.9^k), "quadratic" (eps / k^2), "cubic" (eps / k^3) or "exact" (1e-12).
        eps: first tolerance, relative to the inner residual at the start or at zero, whichever is larger.
        tol: tolerance on the norm of the (projected) hypergradient; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of outer steps.

    Raises:
        TypeError: if `optimizer` or `inner_solver` is of another kind.
        ValueError: if a setting is out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solution = jt.solve(problem, jt.bilevel.HOAG(), (1.0, jnp.zeros(1)))
        >>> print(bool(abs(solution.params.hyper) < 1e-3))
        True
    """

    optimizer: optax.GradientTransformation | None
    inner_solver: AbstractSolver
    eps: Scalar
    tol: Scalar | None
    schedule: Schedule = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation | None = None,
        inner_solver: AbstractSolver | None = None,
        *,
        schedule: Schedule = "exponential",
        eps: ArrayLike = 1e-3,
        tol: ArrayLike | None = None,
        max_steps: int = 200,
    ):
        if schedule not in ("exponential", "quadratic", "cubic", "exact"):
            raise ValueError(f'schedule must be "exponential", "quadratic", "cubic" or "exact", got {schedule!r}.')
        require_positive(eps, "eps")
        self.optimizer = None if optimizer is None else require_optimizer(optimizer)
        self.inner_solver = require_inner_solver(ProximalGradient() if inner_solver is None else inner_solver)
        self.schedule = schedule
        self.eps = _tree.setting(eps)
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def init(self, problem: Bilevel, params: BilevelPoint) -> HOAGState:
        dtype = _tree.dtype_of(params.params)
        inner = problem.inner_problem(params.hyper)
        # A start that is a solution already would ask for nothing less than perfection: zero is a second one.
        at_zero = _tree.norm(inner.optimality(_tree.zeros_like(params.params)))
        residual = _tree.norm(inner.optimality(params.params))
        unit = jnp.maximum(residual, jnp.where(jnp.isfinite(at_zero), at_zero, 0))
        unit = jnp.where(unit > 0, unit, 1)
        one = jnp.ones((), dtype)
        tolerance = self._tolerance(jnp.asarray(0, jnp.int32), one)
        _, found, num_steps, converged = self._evaluate(problem, params, None, tolerance, unit)
        size = sum(leaf.size for leaf in jax.tree.leaves(params.hyper))
        slope = _tree.norm(found.gradient)
        return HOAGState(
            found=found,
            curvature=jnp.where(slope > 1e-3, slope / size**0.5, 1),
            tolerance=tolerance,
            factor=one,
            unit=unit,
            count=jnp.asarray(0, jnp.int32),
            inner_steps=num_steps,
            inner_converged=converged,
            optimizer=None if self.optimizer is None else self.optimizer.init(params.hyper),
        )

    def step(self, problem: Bilevel, params: BilevelPoint, state: HOAGState) -> tuple[BilevelPoint, HOAGState]:
        old, optimizer = state.found, state.optimizer
        if self.optimizer is None:
            hyper = problem.project(_tree.add_scaled(params.hyper, -1 / state.curvature, old.gradient))
        else:
            hyper, optimizer = outer_step(problem, self.optimizer, params.hyper, old.gradient, optimizer)
        count = state.count + 1
        tolerance = self._tolerance(count, state.factor)
        trial = BilevelPoint(hyper, params.params)
        new, found, num_steps, converged = self._evaluate(problem, trial, old.adjoint, tolerance, state.unit)
        curvature, factor = state.curvature, state.factor
        if self.optimizer is None:
            length = _tree.norm(_tree.sub(hyper, params.hyper))
            allowed = tolerance / 4 + 1.25 * state.tolerance * length - curvature * length**2
            good = found.value <= old.value + allowed
            # A factor of 1.2 as published, for values of either sign.
            rejected = ~good & (found.value >= old.value + jnp.abs(old.value) / 5)
            curvature = curvature * jnp.where(good, 0.95, jnp.where(rejected, 2.0, 1.0)).astype(curvature.dtype)
            factor = jnp.where(rejected, factor / 2, factor)
            new, found, tolerance = _tree.where(rejected, (params, old, state.tolerance), (new, found, tolerance))
        return new, HOAGState(
            found=found,
            curvature=curvature,
            tolerance=tolerance,
            factor=factor,
            unit=state.unit,
            count=count,
            inner_steps=state.inner_steps + num_steps,
            inner_converged=state.inner_converged & converged,
            optimizer=optimizer,
        )

    def error(self, problem: Bilevel, params: BilevelPoint, state: HOAGState) -> Scalar:
        return outer_error(problem, params.hyper, state.found.gradient)

    def _tolerance(self, count: IntScalar, factor: Scalar) -> Scalar:
        k, dtype = count.astype(factor.dtype) + 1, factor.dtype
        floor = jnp.asarray(_exact(dtype), dtype)
        if self.schedule == "exact":
            return floor
        decay = {"exponential": 0.9**k, "quadratic": k**-2.0, "cubic": k**-3.0}[self.schedule]
        return jnp.maximum(self.eps.astype(dtype) * factor * decay.astype(dtype), floor)

    def _evaluate(
        self, problem: Bilevel, point: BilevelPoint, adjoint: Params | None, tolerance: Scalar, unit: Scalar
    ) -> tuple[BilevelPoint, Hypergradient, IntScalar, BoolScalar]:
        stop = FixedPointResidual(tolerance * unit)
        solution = solve(problem.inner_problem(point.hyper), self.inner_solver, point.params, stop=stop)
        found = hypergradient(problem, point.hyper, solution.params, adjoint=adjoint, rtol=tolerance)
        converged = solution.result == RESULTS.converged
        return BilevelPoint(point.hyper, solution.params), found, solution.num_steps, converged
