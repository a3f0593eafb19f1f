import jax
import jax.numpy as jnp

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar
from ..implicit import warm_linear_solve
from ._bilevel import Bilevel, BilevelPoint
from ._maid_inner import InnerSolution
from ._maid_oracle import CertifiedOracle
from ._maid_state import MAIDState, Trial


def search_certain_descent(
    oracle: CertifiedOracle,
    problem: Bilevel,
    point: BilevelPoint,
    state: MAIDState,
    *,
    wanted: BoolScalar,
    max_trials: IntScalar,
    backtrack: Scalar,
    share: Scalar,
) -> Trial:
    """Backtrack until the outer objective is certain to fall by enough, or no trial is left.

    Enough is `share * step_size * |z|^2`; where it is not `wanted`, nothing is tried.
    """
    dtype = state.eps.dtype

    def attempt(trial: Trial) -> Trial:
        alpha = trial.step_size * jnp.where(trial.count > 0, backtrack, 1)
        hyper = problem.project(_tree.add_scaled(point.hyper, -alpha, state.gradient))
        # A shorter step starts on the way to where the longer one led; the first trial has moved nowhere yet.
        way = _tree.sub(trial.point.params, point.params)
        way = _tree.where(_tree.all_finite(way), way, _tree.zeros_like(way))
        start = BilevelPoint(hyper, _tree.add_scaled(point.params, backtrack, way))
        value, gradient = problem.inner_problem(hyper).smooth.value_and_grad(start.params)
        inner = oracle.minimize(problem, start, value, gradient, state.eps, trial.lipschitz)
        end = BilevelPoint(hyper, inner.params)
        adjoint, left, products = state.adjoint, jnp.zeros((), dtype), jnp.asarray(0, jnp.int32)
        if oracle.value == "corrected":
            slope = problem.outer_gradients(end.params, hyper)[1]
            hessian = jax.linearize(lambda w: problem.inner_gradient(w, hyper), end.params)[1]
            solved = warm_linear_solve(hessian, slope, adjoint, rtol=0.0, atol=state.delta)
            adjoint, left, products = solved.value, solved.residual_norm, solved.num_steps
        lower, upper = oracle.bracket(problem, end, inner.gradient, adjoint, left)
        length = alpha * state.measure
        if problem.projection is not None:
            length = _tree.norm(_tree.sub(hyper, point.hyper)).astype(dtype)
        needed = share * length**2 / alpha
        # A step that is too long for certain is not tried again with better accuracies.
        too_long = lower - state.upper > -needed
        return Trial(
            point=end,
            adjoint=adjoint,
            inner=inner,
            inner_value=problem.inner_problem(hyper).smooth.value(end.params),
            accepted=(upper - state.lower <= -needed) & (length > 0),
            step_size=alpha,
            next_size=jnp.where(too_long, alpha * backtrack, trial.next_size),
            lipschitz=jnp.where(jnp.isfinite(inner.residual), inner.lipschitz, trial.lipschitz),
            count=trial.count + 1,
            num_inner=trial.num_inner + inner.num_gradients + 1,
            num_products=trial.num_products + products,
        )

    def failed(trial: Trial) -> BoolScalar:
        return wanted & ~trial.accepted & (trial.count < max_trials)

    residual = _tree.norm(state.inner_gradient)
    zero, no = jnp.asarray(0, jnp.int32), jnp.asarray(False)
    none = InnerSolution(point.params, state.inner_gradient, residual, state.inner_lipschitz, zero, no)
    start = Trial(
        point=point,
        adjoint=state.adjoint,
        inner=none,
        inner_value=state.inner_value,
        accepted=no,
        step_size=state.step_size,
        next_size=state.step_size,
        lipschitz=state.inner_lipschitz,
        count=zero,
        num_inner=state.num_inner,
        num_products=state.num_products,
    )
    return while_loop(failed, attempt, start)
