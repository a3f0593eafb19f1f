import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._types import IntScalar, Scalar
from ..problems import Composite
from ._row_sampling import Draws, RowSampling
from ._row_solver import AbstractRowSolver, model_of, residual_error, row_slopes, scale_rows, scan_batches, slopes_at


class SVRGState(eqx.Module):
    """State of `SVRG`.

    Attributes:
        slopes: derivatives of the losses of all rows at the anchor, the last iterate of an epoch.
        gradient: gradient of f there.
        sampling: how rows are drawn.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
        count: number of epochs.
    """

    slopes: Float[Array, "n *k"]
    gradient: Float[Array, "p *k"]
    sampling: RowSampling
    gradient_norm: Scalar
    error: Scalar
    count: IntScalar


class SVRG(AbstractRowSolver):
    """Stochastic variance-reduced gradient with a prox, for a `LinearModel` of bounded curvature and any penalty.

    A gradient at a batch of rows is corrected by that of the same rows at an anchor, whose whole gradient is known; the
    last iterate of an epoch is the next anchor. One step is an epoch, about n draws: a pass over the drawn rows, and
    one over all of them for the anchor, whose gradient also gives the error. The step size is a third of the inverse
    expected smoothness, which lies between that of the worst row (batches of one) and that of the mean: larger
    batches take larger steps. Each batch takes one row out of each of `batch_size` strata of consecutive rows.

    The error is the norm of `(w - prox_{step}(w - step * gradient)) / step` relative to `max(1, g)`, g the least norm
    of the gradient of f so far.

    Args:
        key: random key of the draws.
        batch_size: rows of a batch; None takes 32, for a sparse design enough of them to have as many entries as
            there are parameters, but at most a fiftieth of the rows.
        sampling: "uniform", or "importance" to draw rows in proportion to their smoothness and weight.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of epochs.

    Raises:
        ValueError: if a setting is out of range, or the problem has another form.

    Xiao and Zhang, "A proximal stochastic gradient method with progressive variance reduction", 2014; Sebbouh,
    Gazagnadou, Jelassi, Bach and Gower, "Towards closing the gap between the theory and practice of SVRG", 2019.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 0.5]))
        >>> lasso = jt.Composite(model, jt.penalties.L1(0.5))
        >>> print(jt.solve(lasso, jt.solvers.SVRG(key=jax.random.key(0)), jnp.zeros(2)).params.round(2))
        [2. 0.]
    """

    def start(self, problem: Composite, params: Float[Array, "p *k"], sampling: RowSampling) -> SVRGState:
        model = model_of(problem)
        slopes = slopes_at(model, params)
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return SVRGState(
            slopes=slopes,
            gradient=model.design.rmatvec(model.share(slopes)),
            sampling=sampling,
            gradient_norm=infinite,
            error=infinite,
            count=jnp.zeros((), jnp.int32),
        )

    def step(
        self, problem: Composite, params: Float[Array, "p *k"], state: SVRGState
    ) -> tuple[Float[Array, "p *k"], SVRGState]:
        model, step_size = model_of(problem), state.sampling.step_size

        def update(params: Array, batch: Draws) -> Array:
            change = row_slopes(model, batch.indices, params) - state.slopes[batch.indices]
            estimate = state.gradient + model.design.rows_rmatvec(batch.indices, scale_rows(batch.factors, change))
            return problem.penalty.prox(_tree.add_scaled(params, -step_size, estimate), step_size)

        draws = self.draws(model, state)
        new = scan_batches(update, params, draws)
        slopes = slopes_at(model, new)
        gradient = model.design.rmatvec(model.share(slopes))
        error, gradient_norm = residual_error(problem, new, gradient, step_size, state.gradient_norm)
        return new, SVRGState(slopes, gradient, state.sampling, gradient_norm, error, state.count + 1)

    def dual_candidate(
        self, problem: Composite, params: Float[Array, "p *k"], state: SVRGState
    ) -> Float[Array, "n *k"]:
        """Dual values u_i, one a row, of the last iterate: the derivatives of its losses."""
        return state.slopes
