from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import IntScalar, Scalar
from .._validate import concrete
from ..penalties import split_quadratic, strong_convexity
from ..problems import Composite
from ._row_sampling import Draws, Purpose, row_sampling, RowSampling
from ._row_solver import (
    AbstractRowSolver,
    default_batch_size,
    model_of,
    once,
    residual_error,
    row_slopes,
    scale_rows,
    scan_batches,
    slopes_at,
)


class MISOState(eqx.Module):
    """State of `MISO`.

    Attributes:
        table: the z_i, averages of negative derivatives of the loss of each row.
        total: `sum_i w_i z_i a_i`, with the weights w_i and the rows a_i.
        sampling: how rows are drawn.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the prox-gradient residual.
        count: number of epochs.
    """

    table: Float[Array, "n *k"]
    total: Float[Array, "p *k"]
    sampling: RowSampling
    gradient_norm: Scalar
    error: Scalar
    count: IntScalar


class MISO(AbstractRowSolver):
    """MISO: minimizes a model of the objective that averages a strongly convex lower bound of each row.

    For a `LinearModel` of bounded curvature and a penalty `rest + mu/2 |w|^2 - <pull, w>` with positive mu, as
    `split_quadratic` finds it; others can be reached by `Catalyst` or `QNing`, which add a quadratic. The minimizer of
    the model is `prox_{rest/mu}((sum_i w_i z_i a_i + pull) / mu)`, so that the quadratic counts once; drawn rows move
    their z_i towards the negative derivative of their loss by a fraction delta. The iterate depends on the table
    alone. The table starts at zero or at the derivatives at `params`, whichever has the lower objective; one step is an
    epoch, about n draws, and one pass over all rows, which gives the error and the total of the table anew. No step
    size is needed, and `-z` is a feasible dual point.

    A batch of b takes, for uniform draws, `delta = min(1, n mu / (2 (Lmax + (b - 1) L)))`. Batches and error are those
    of `SVRG`.

    Args:
        key: random key of the draws.
        batch_size: rows of a batch; None chooses as for `SVRG`.
        sampling: "uniform", or "importance" to draw rows in proportion to the larger of mu / 2 and their smoothness.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of epochs.

    Raises:
        ValueError: if a setting is out of range, the problem has another form, or mu is known to be zero.

    Lin, Mairal and Harchaoui, "A universal catalyst for first-order optimization", 2015, for the variant with a prox;
    Qu, Richtarik and Zhang, "Quartz: randomized dual coordinate ascent with arbitrary sampling", 2015, for batches.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 0.5]))
        >>> problem = jt.Composite(model, jt.penalties.ElasticNet(0.5, 0.5))
        >>> print(jt.solve(problem, jt.solvers.MISO(key=jax.random.key(0)), jnp.zeros(2)).params.round(2))
        [1. 0.]
    """

    purpose: ClassVar[Purpose] = "dual"

    def check(self, problem: Composite, params: Float[Array, "p *k"]) -> None:
        super().check(problem, params)
        mu = concrete(strong_convexity(problem.penalty))
        if mu is not None and not np.all(mu > 0):
            raise ValueError(
                f"MISO needs a strongly convex penalty, and mu is {mu} for {type(problem.penalty).__name__}; add a "
                "quadratic (ElasticNet, Regularized), or take SVRG or SAGA, or MISO inside of Catalyst or QNing."
            )

    def plan(self, problem: Composite, params: Float[Array, "p *k"]) -> RowSampling:
        model = model_of(problem)
        size = default_batch_size(model) if self.batch_size is None else self.batch_size
        strong = split_quadratic(problem.penalty, params)[0]
        return row_sampling(model, size, self.sampling, self.purpose, strong)

    def start(self, problem: Composite, params: Float[Array, "p *k"], sampling: RowSampling) -> MISOState:
        model = model_of(problem)
        table = -slopes_at(model, params)
        total = model.design.rmatvec(model.share(table))
        # At zero the model ignores the start; at the derivatives it steps by 1 / mu, often too far.
        none = jnp.zeros_like(total)
        better = problem.value(minimizer(problem, total)) <= problem.value(minimizer(problem, none))
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return MISOState(
            table=jnp.where(better, table, 0),
            total=jnp.where(better, total, 0),
            sampling=sampling,
            gradient_norm=infinite,
            error=infinite,
            count=jnp.zeros((), jnp.int32),
        )

    def relocated(self, problem: Composite, params: Float[Array, "p *k"], state: MISOState) -> MISOState:
        # The table is no matter of the iterate, and the model follows a center that has moved by itself.
        return state

    def step(
        self, problem: Composite, params: Float[Array, "p *k"], state: MISOState
    ) -> tuple[Float[Array, "p *k"], MISOState]:
        model, sampling = model_of(problem), state.sampling
        mu = split_quadratic(problem.penalty, params)[0]
        weights = model.row_weights
        draws = self.draws(model, state)
        # Every row moves by the same part in the mean over draws, but none beyond its derivative.
        part = mu * sampling.batch_size / (2 * (sampling.single + (sampling.batch_size - 1) * sampling.whole))
        fractions = jnp.minimum(1, part * draws.rates)

        def update(carry: tuple[Array, Array], batch: tuple[Draws, Array]) -> tuple[Array, Array]:
            (table, total), (rows, fraction) = carry, batch
            slopes = row_slopes(model, rows.indices, minimizer(problem, total))
            change = once(rows, scale_rows(fraction, -slopes - table[rows.indices]))
            moved = model.design.rows_rmatvec(rows.indices, scale_rows(weights[rows.indices], change))
            # Adding writes in place where setting would copy the table.
            return table.at[rows.indices].add(change), total + moved

        table, _ = scan_batches(update, (state.table, state.total), (draws, fractions))
        total = model.design.rmatvec(model.share(table))
        new = minimizer(problem, total)
        slopes = slopes_at(model, new)
        gradient = model.design.rmatvec(model.share(slopes))
        error, gradient_norm = residual_error(problem, new, gradient, sampling.step_size, state.gradient_norm)
        return new, MISOState(table, total, sampling, gradient_norm, error, state.count + 1)

    def dual_candidate(
        self, problem: Composite, params: Float[Array, "p *k"], state: MISOState
    ) -> Float[Array, "n *k"]:
        """Dual values u_i, one a row: the table with its sign turned."""
        return -state.table


def minimizer(problem: Composite, total: Float[Array, "p *k"]) -> Float[Array, "p *k"]:
    """The minimizer of the model whose rows add up to `total`."""
    mu, rest, pull = split_quadratic(problem.penalty, total)
    return rest.prox((total + pull) / mu, 1 / mu)
