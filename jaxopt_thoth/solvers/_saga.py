from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._types import IntScalar, Scalar
from ..problems import Composite
from ._row_sampling import Draws, Purpose, RowSampling
from ._row_solver import (
    AbstractRowSolver,
    model_of,
    once,
    residual_error,
    row_slopes,
    scale_rows,
    scan_batches,
    slopes_at,
)


class SAGAState(eqx.Module):
    """State of `SAGA`.

    Attributes:
        table: derivative of the loss of each row where it was last drawn.
        gradient: gradient that the table stands for.
        sampling: how rows are drawn.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
        count: number of epochs.
    """

    table: Float[Array, "n *k"]
    gradient: Float[Array, "p *k"]
    sampling: RowSampling
    gradient_norm: Scalar
    error: Scalar
    count: IntScalar


class SAGA(AbstractRowSolver):
    """SAGA: a table of the last known derivatives of all rows corrects the gradient at a batch of them.

    For a `LinearModel` of bounded curvature and any penalty; the table holds one number a row and output. One step is
    an epoch, about n draws, and one pass over all rows, which gives the error and the gradient of the table anew, so
    that no rounding adds up. Step size, batches and error are those of `SVRG`; the table starts
    at the first iterate.

    Args:
        key: random key of the draws.
        batch_size: rows of a batch; None chooses as for `SVRG`.
        sampling: "uniform", or "importance" to draw half of the rows in proportion to their smoothness and weight.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of epochs.

    Raises:
        ValueError: if a setting is out of range, or the problem has another form.

    Defazio, Bach and Lacoste-Julien, "SAGA: a fast incremental gradient method with support for non-strongly convex
    composite objectives", 2014; Gazagnadou, Gower and Salmon, "Optimal mini-batch and step sizes for SAGA", 2019.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 0.5]))
        >>> lasso = jt.Composite(model, jt.penalties.L1(0.5))
        >>> print(jt.solve(lasso, jt.solvers.SAGA(key=jax.random.key(0)), jnp.zeros(2)).params.round(2))
        [2. 0.]
    """

    purpose: ClassVar[Purpose] = "table"

    def start(self, problem: Composite, params: Float[Array, "p *k"], sampling: RowSampling) -> SAGAState:
        model = model_of(problem)
        table = slopes_at(model, params)
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return SAGAState(
            table=table,
            gradient=model.design.rmatvec(model.share(table)),
            sampling=sampling,
            gradient_norm=infinite,
            error=infinite,
            count=jnp.zeros((), jnp.int32),
        )

    def relocated(self, problem: Composite, params: Float[Array, "p *k"], state: SAGAState) -> SAGAState:
        # Derivatives from elsewhere have the right mean as well, and are replaced as their rows are drawn.
        return state

    def step(
        self, problem: Composite, params: Float[Array, "p *k"], state: SAGAState
    ) -> tuple[Float[Array, "p *k"], SAGAState]:
        model, sampling = model_of(problem), state.sampling
        step_size = sampling.step_size
        weights = model.row_weights

        def update(carry: tuple[Array, Array, Array], batch: Draws) -> tuple[Array, Array, Array]:
            params, table, gradient = carry
            change = row_slopes(model, batch.indices, params) - table[batch.indices]
            estimated = scale_rows(batch.factors, change)
            if batch.first is None and model.num_rows % sampling.batch_size == 0:
                # All strata are alike: the estimate moves by a multiple of what the table's gradient moves by.
                direction = model.design.rows_rmatvec(batch.indices, estimated)
                moved = direction * (sampling.batch_size / model.num_rows)
            else:
                change = once(batch, change)
                parts = [estimated, scale_rows(weights[batch.indices], change)]
                both = jnp.concatenate([rows.reshape(rows.shape[0], -1) for rows in parts], 1)
                product = model.design.rows_rmatvec(batch.indices, both).reshape(params.shape[0], 2, -1)
                direction, moved = (product[:, i].reshape(params.shape) for i in range(2))
            # Adding writes in place where setting would copy the table.
            new = problem.penalty.prox(_tree.add_scaled(params, -step_size, gradient + direction), step_size)
            return new, table.at[batch.indices].add(change), gradient + moved

        draws = self.draws(model, state)
        new, table, _ = scan_batches(update, (params, state.table, state.gradient), draws)
        gradient = model.design.rmatvec(model.share(slopes_at(model, new)))
        exact = model.design.rmatvec(model.share(table))
        error, gradient_norm = residual_error(problem, new, gradient, step_size, state.gradient_norm)
        return new, SAGAState(table, exact, sampling, gradient_norm, error, state.count + 1)

    def dual_candidate(
        self, problem: Composite, params: Float[Array, "p *k"], state: SAGAState
    ) -> Float[Array, "n *k"]:
        """Dual values u_i, one a row: the table."""
        return state.table
