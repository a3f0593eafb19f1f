from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import IntScalar, Params, Scalar, State
from .._validate import require_nonnegative
from ..problems import Composite
from ._base import AbstractSolver
from ._proximal_gradient import ProximalGradient
from ._settings import count_setting


class AndersonAccelerationState(eqx.Module):
    """State of `AndersonAcceleration`.

    Attributes:
        inner: state of the accelerated solver.
        image: image of the last iterate under the solver's step.
        residual: difference of the last image and its iterate.
        image_changes: last differences of images, each leaf with a leading axis of length `history`, newest last.
        residual_changes: last differences of residuals, likewise.
        num_steps: steps so far.
        num_accepted: extrapolations that were accepted so far.
    """

    inner: State
    image: Params
    residual: Params
    image_changes: Params
    residual_changes: Params
    num_steps: IntScalar
    num_accepted: IntScalar


class AndersonAcceleration(AbstractSolver):
    """Anderson acceleration of another solver's step, guarded by the objective so that it never does worse.

    With G the map of one step of the inner solver, the affine combination of the last images G(w_i) that minimizes the
    norm of the combined residuals G(w_i) - w_i (Walker and Ni, 2011), regularized relative to their Gram matrix
    (Scieur, d'Aspremont and Bach, 2016), replaces the iterate where its objective is not above that of the plain step
    (Bertrand and Massias, 2021; Mai and Johansson, 2020, guard by a weaker decrease). For an indicator penalty it is
    projected first. So a descent method stays one, and a map that is a contraction near the solution gains the rate of
    a Krylov method. Each step costs that of the inner solver, two values and one image more.

    The error is that of the inner solver, and the last step is a plain one, so that its error is that of what is
    returned. Tolerance and bound on the steps are those of the inner solver.

    Args:
        solver: the solver to accelerate, whose step depends on its iterate and not on momentum; by default
            `ProximalGradient(accelerated=False, growth=1.0)`, whose step size, and so its map, soon stays the same.
        history: number of differences that are combined.
        ridge: weight of the regularization, relative to the trace of the Gram matrix of the residuals; not less than
            what rounding adds to it.

    Raises:
        TypeError: if `solver` is no solver of composite problems.
        ValueError: if a setting is out of range, or the solver is accelerated already.

    H. F. Walker and P. Ni, "Anderson acceleration for fixed-point iterations", 2011.
    V. V. Mai and M. Johansson, "Anderson acceleration of proximal gradient methods", 2020.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(jt.Quadratic(jnp.diag(jnp.array([1.0, 5.0, 20.0, 50.0])), -jnp.ones(4)))
        >>> plain = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-5)
        >>> fast = jt.solve(problem, jt.solvers.AndersonAcceleration(plain), jnp.ones(4))
        >>> slow = jt.solve(problem, plain, jnp.ones(4))
        >>> print(fast.params.round(2), int(slow.num_steps) > 10 * int(fast.num_steps))
        [1.   0.2  0.05 0.02] True
    """

    solver: AbstractSolver
    ridge: Scalar
    tol: Scalar | None
    history: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(self, solver: AbstractSolver | None = None, history: int = 5, *, ridge: ArrayLike = 1e-10):
        solver = ProximalGradient(accelerated=False, growth=1.0) if solver is None else solver
        if not isinstance(solver, AbstractSolver) or solver.problem_kind is not Composite:
            raise TypeError(
                f"solver must be a solver of composite problems, got {type(solver).__name__}; "
                "pass for example ProximalGradient(accelerated=False)."
            )
        if isinstance(solver, AndersonAcceleration) or getattr(solver, "accelerated", False):
            raise ValueError(
                f"solver must be a method without momentum, got an accelerated {type(solver).__name__}; "
                "pass for example ProximalGradient(accelerated=False)."
            )
        require_nonnegative(ridge, "ridge")
        self.solver = solver
        self.tol = solver.tol
        self.max_steps = solver.max_steps
        self.history = count_setting(history, "history", 1)
        self.ridge = _tree.setting(ridge)

    def check(self, problem: Composite, params: Params) -> None:
        self.solver.check(problem, params)

    def init(self, problem: Composite, params: Params) -> AndersonAccelerationState:
        blank = jax.tree.map(lambda x: jnp.zeros((self.history, *x.shape), x.dtype), params)
        return AndersonAccelerationState(
            inner=self.solver.init(problem, params),
            image=params,
            residual=_tree.zeros_like(params),
            image_changes=blank,
            residual_changes=blank,
            num_steps=jnp.asarray(0, jnp.int32),
            num_accepted=jnp.asarray(0, jnp.int32),
        )

    def step(
        self, problem: Composite, params: Params, state: AndersonAccelerationState
    ) -> tuple[Params, AndersonAccelerationState]:
        image, inner = self.solver.step(problem, params, state.inner)
        residual = _tree.sub(image, params)
        started = state.num_steps > 0
        push = lambda memory, new, old: jnp.concatenate([memory[1:], jnp.where(started, new - old, 0)[None]])
        image_changes = jax.tree.map(push, state.image_changes, image, state.image)
        residual_changes = jax.tree.map(push, state.residual_changes, residual, state.residual)

        weights = self._weights(residual_changes, residual)
        combine = lambda x, changes: x - jnp.tensordot(weights.astype(x.dtype), changes, 1)
        extrapolated = jax.tree.map(combine, image, image_changes)
        if problem.penalty.is_indicator:
            extrapolated = problem.penalty.prox(extrapolated, 1.0)
        plain_value, value = problem.value(image), problem.value(extrapolated)
        noise = 4 * jnp.finfo(plain_value.dtype).eps * jnp.abs(plain_value)
        better = _tree.all_finite(extrapolated) & (value <= plain_value + noise)
        unfinished = self.solver.error(problem, image, inner) > self.tolerance(params)
        accepted = started & better & unfinished
        moved = self.solver.relocated(problem, extrapolated, inner)
        return _tree.where(accepted, extrapolated, image), AndersonAccelerationState(
            inner=_tree.where(accepted, moved, inner),
            image=image,
            residual=residual,
            image_changes=image_changes,
            residual_changes=residual_changes,
            num_steps=state.num_steps + 1,
            num_accepted=state.num_accepted + accepted.astype(jnp.int32),
        )

    def error(self, problem: Composite, params: Params, state: AndersonAccelerationState) -> Scalar:
        return self.solver.error(problem, params, state.inner)

    def fixed_point_step(self, problem: Composite, params: Params, state: AndersonAccelerationState) -> Scalar:
        return self.solver.fixed_point_step(problem, params, state.inner)

    def for_unrolling(self) -> Self:
        return eqx.tree_at(lambda s: s.solver, self, self.solver.for_unrolling())

    def _weights(self, changes: Params, residual: Params) -> Float[Array, " m"]:
        """Weights of the differences whose combination is nearest to the residual; blank ones get zero."""
        rows = jax.vmap(_tree.vdot, (0, None))
        gram = jax.vmap(rows, (None, 0))(changes, changes)
        size = jnp.trace(gram)
        size = jnp.where(size > 0, size, 1)
        # Rounding of the Gram matrix must not make it indefinite.
        ridge = jnp.maximum(self.ridge.astype(gram.dtype), 4 * self.history * float(jnp.finfo(gram.dtype).eps))
        regular = gram / size + ridge * jnp.eye(self.history, dtype=gram.dtype)
        right: Any = rows(changes, residual) / size
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(regular), True), right)
