from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._types import IntScalar, Scalar
from ..penalties import strong_convexity
from ..problems import Composite
from ._row_sampling import Draws, RowSampling
from ._row_solver import AbstractRowSolver, model_of, residual_error, row_slopes, scale_rows, scan_batches, slopes_at


class AcceleratedSVRGState(eqx.Module):
    """State of `AcceleratedSVRG`.

    Attributes:
        anchor: the last iterate of an epoch.
        slopes: derivatives of the losses of all rows at the anchor.
        gradient: gradient of f there.
        extrapolated: the point at which the next gradient is taken.
        curvature: curvature of the estimate sequence.
        sampling: how rows are drawn.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
        count: number of epochs.
    """

    anchor: Float[Array, "p *k"]
    slopes: Float[Array, "n *k"]
    gradient: Float[Array, "p *k"]
    extrapolated: Float[Array, "p *k"]
    curvature: Scalar
    sampling: RowSampling
    gradient_norm: Scalar
    error: Scalar
    count: IntScalar


class _Parameters(NamedTuple):
    curvature: Scalar
    delta: Scalar
    step_size: Scalar
    theta: Scalar


class AcceleratedSVRG(AbstractRowSolver):
    """Accelerated SVRG by estimate sequences, for a `LinearModel` of bounded curvature and any convex penalty.

    Extrapolates between the iterate, the last gradient point and the anchor, which takes about
    `n + sqrt(n L / mu)` gradients of rows a digit in place of the `n + L / mu` of `SVRG`; where `20 L < N mu`, with N
    batches an epoch, there is nothing to gain and it is `SVRG`. mu is the strong convexity of the penalty
    (`strong_convexity`), zero with an intercept. One step is an epoch, after which the anchor moves; step sizes,
    batches and error are those of `SVRG`, with the expected smoothness of a batch for L.

    Args:
        key: random key of the draws.
        batch_size: rows of a batch; None chooses as for `SVRG`.
        sampling: "uniform", or "importance" to draw rows in proportion to their smoothness and weight.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of epochs.

    Raises:
        ValueError: if a setting is out of range, or the problem has another form.

    Kulunchakov and Mairal, "Estimate sequences for stochastic composite optimization: variance reduction, acceleration,
    and robustness to noise", 2020.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 0.5]))
        >>> lasso = jt.Composite(model, jt.penalties.L1(0.5))
        >>> print(jt.solve(lasso, jt.solvers.AcceleratedSVRG(key=jax.random.key(0)), jnp.zeros(2)).params.round(2))
        [2. 0.]
    """

    def start(self, problem: Composite, params: Float[Array, "p *k"], sampling: RowSampling) -> AcceleratedSVRGState:
        model = model_of(problem)
        slopes = slopes_at(model, params)
        infinite = jnp.asarray(jnp.inf, params.dtype)
        mu = strong_convexity(problem.penalty).astype(params.dtype)
        return AcceleratedSVRGState(
            anchor=params,
            slopes=slopes,
            gradient=model.design.rmatvec(model.share(slopes)),
            extrapolated=params,
            curvature=jnp.maximum(sampling.smoothness / sampling.num_batches(model), mu),
            sampling=sampling,
            gradient_norm=infinite,
            error=infinite,
            count=jnp.zeros((), jnp.int32),
        )

    def step(
        self, problem: Composite, params: Float[Array, "p *k"], state: AcceleratedSVRGState
    ) -> tuple[Float[Array, "p *k"], AcceleratedSVRGState]:
        model, sampling = model_of(problem), state.sampling
        batches = sampling.num_batches(model)
        mu = strong_convexity(problem.penalty).astype(params.dtype)
        plain = 20 * sampling.smoothness <= batches * mu

        def update(carry: tuple[Array, Array, Scalar, Array], batch: Draws) -> tuple[Array, Array, Scalar, Array]:
            _, at, curvature, _ = carry
            old = _parameters(curvature, mu, sampling.smoothness, batches)
            step_size = jnp.where(plain, sampling.step_size, old.step_size)
            change = row_slopes(model, batch.indices, at) - state.slopes[batch.indices]
            estimate = state.gradient + model.design.rows_rmatvec(batch.indices, scale_rows(batch.factors, change))
            new = problem.penalty.prox(_tree.add_scaled(at, -step_size, estimate), step_size)

            alpha = mu * old.delta / old.curvature
            beta = jnp.where(plain, 1, old.delta / (old.curvature * old.step_size))
            weight = jnp.where(plain, 1, (1 - alpha) / old.theta + alpha)
            theta = _parameters(old.curvature, mu, sampling.smoothness, batches).theta
            theta = jnp.where(plain, 1, theta)
            moved = theta * (weight - beta) * at + beta * theta * new
            # After the last batch the anchor moves to the iterate, from where the next point is extrapolated.
            ahead = moved + (1 - theta) * new + (1 - weight) * theta * state.anchor
            return new, moved + (1 - theta * weight) * state.anchor, old.curvature, ahead

        draws = self.draws(model, state)
        carry = (params, state.extrapolated, state.curvature, state.extrapolated)
        new, _, curvature, ahead = scan_batches(update, carry, draws)
        slopes = slopes_at(model, new)
        gradient = model.design.rmatvec(model.share(slopes))
        error, gradient_norm = residual_error(problem, new, gradient, sampling.step_size, state.gradient_norm)
        return new, AcceleratedSVRGState(
            anchor=new,
            slopes=slopes,
            gradient=gradient,
            extrapolated=ahead,
            curvature=curvature,
            sampling=sampling,
            gradient_norm=gradient_norm,
            error=error,
            count=state.count + 1,
        )

    def dual_candidate(
        self, problem: Composite, params: Float[Array, "p *k"], state: AcceleratedSVRGState
    ) -> Float[Array, "n *k"]:
        """Dual values u_i, one a row, of the last iterate: the derivatives of its losses."""
        return state.slopes


def _parameters(curvature: Scalar, mu: Scalar, smoothness: Scalar, batches: int) -> _Parameters:
    """The sequences of Kulunchakov and Mairal (2020) at the curvature gamma of the estimate function."""
    quadratic, linear = 9 * batches * smoothness / 5, curvature - mu
    root = 2 * curvature / (linear + jnp.sqrt(linear**2 + 4 * quadratic * curvature))
    delta = jnp.minimum(root, 1 / (3 * batches))
    following = (1 - delta) * curvature + mu * delta
    step_size = jnp.minimum(1 / (3 * smoothness), 1 / (15 * following * batches))
    theta = (3 * batches * delta - 5 * mu * step_size) / (3 - 5 * mu * step_size)
    return _Parameters(following, delta, step_size, theta)
