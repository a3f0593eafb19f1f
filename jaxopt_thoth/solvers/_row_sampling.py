from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from .. import _tree
from .._types import Scalar
from ..operators import AbstractOperator, DenseOperator, RowScaled, spectral_norm
from ..smooth import LinearModel


Sampling = Literal["uniform", "importance"]
# What the probabilities of importance sampling are made for.
Purpose = Literal["gradient", "table", "dual"]


class Draws(eqx.Module):
    """The rows of one epoch, batch after batch.

    Attributes:
        indices: of the rows.
        factors: by which the gradient of a row is multiplied in an unbiased estimate of the mean, summed over a batch.
        rates: about how many batches it takes until a row comes again, one over its probability to be in a batch.
        first: whether a row has not come before in its batch.
    """

    indices: Int[Array, "batches size"]
    factors: Float[Array, "batches size"]
    rates: Float[Array, "batches size"]
    first: Bool[Array, "batches size"] | None


class RowSampling(eqx.Module):
    """How batches of rows are drawn from a `LinearModel`: one row from each of as many strata as the batch has places.

    Strata keep every row's chance and never add variance to independent draws. A uniform batch takes no row twice.

    Attributes:
        cumulative: sums of the probabilities of the rows; None where all are alike.
        single: smoothness of the estimate from one row, `max_i w_i L_i / q_i`.
        whole: smoothness of the mean; that of a single row where no batch asks for it.
        smoothness: expected smoothness of the estimate from a batch, which interpolates the two.
    """

    cumulative: Float[Array, " n"] | None
    single: Scalar
    whole: Scalar
    smoothness: Scalar
    batch_size: int = eqx.field(static=True)

    @property
    def step_size(self) -> Scalar:
        """A third of the inverse smoothness: the largest step for which the methods are proven."""
        return 1 / (3 * self.smoothness)

    def num_batches(self, model: LinearModel) -> int:
        """Batches of an epoch."""
        return -(-model.num_rows // self.batch_size)

    def draw(self, model: LinearModel, key: Key[Array, ""]) -> Draws:
        """The batches of an epoch, each of one row out of each stratum."""
        shape = self.num_batches(model), self.batch_size
        weights = model.row_weights
        chance = jax.random.uniform(key, shape, weights.dtype)
        if self.cumulative is None:
            starts, sizes = _strata(model.num_rows, self.batch_size)
            spread = sizes.astype(weights.dtype)[None]
            within = jnp.minimum((chance * spread).astype(jnp.int32), jnp.asarray(sizes - 1, jnp.int32)[None])
            indices = jnp.asarray(starts, jnp.int32)[None] + within
            rates = jnp.broadcast_to(jnp.asarray(spread), shape)
            factors = rates / model.num_rows if model.weights is None else rates * weights[indices]
            return Draws(indices, factors, rates, None)
        places = (jnp.arange(self.batch_size, dtype=weights.dtype)[None] + chance) / self.batch_size
        total = self.cumulative[-1]
        indices = jnp.searchsorted(self.cumulative, places * total, side="right").astype(jnp.int32)
        indices = jnp.minimum(indices, model.num_rows - 1)
        below = jnp.where(indices > 0, self.cumulative[jnp.maximum(indices - 1, 0)], 0)
        chances = (self.cumulative[indices] - below) / total * self.batch_size
        # A row of no chance comes by rounding alone, and then has no say.
        rates = jnp.where(chances > 0, 1 / jnp.where(chances > 0, chances, 1), 0)
        # Strata come in order, so that copies of a row are neighbors.
        first = jnp.ones(shape, bool).at[:, 1:].set(indices[:, 1:] != indices[:, :-1])
        return Draws(indices, rates * weights[indices], rates, first)


def row_sampling(
    model: LinearModel, batch_size: int, sampling: Sampling, purpose: Purpose, strong: Scalar | None = None
) -> RowSampling:
    """The plan by which batches are drawn, with the constants that step sizes follow from.

    With L the smoothness of the mean and L_i that of a row of weight w_i and probability q_i, a batch of b has the
    expected smoothness `(1 - 1/b) L + max_i (w_i L_i / q_i) / b`. Importance sampling takes q_i in proportion to
    `w_i L_i` for a plain gradient, half of that and half uniform where a table has to be kept fresh, and to
    `max(w_i L_i, mu / 2)` for a dual method, `strong` being mu.

    Gower, Loizou, Qian, Sailanbayev, Shulgin and Richtarik, "SGD: general analysis and improved rates", 2019.
    """
    n = model.num_rows
    weights = model.row_weights
    curvature = jnp.asarray(model.loss.curvature, weights.dtype)
    rows = curvature * weights * model.design.squared_row_norms()
    mean = jnp.sum(rows)
    tiny = jnp.finfo(weights.dtype).tiny
    cumulative = None
    if sampling == "uniform":
        largest = int(_strata(n, batch_size)[1].max())
        # Strata of unequal sizes weigh their rows unequally.
        single = largest * batch_size * jnp.max(rows)
    else:
        live = (weights > 0).astype(weights.dtype)
        alike = live / jnp.sum(live)
        shares = rows / jnp.where(mean > 0, mean, 1)
        if purpose == "gradient":
            chances = jnp.where(mean > 0, shares, alike)
        elif purpose == "table":
            chances = (jnp.where(mean > 0, shares, alike) + alike) / 2
        else:
            assert strong is not None
            chances = live * jnp.maximum(rows, jnp.maximum(strong / 2, tiny))
            chances = chances / jnp.sum(chances)
        cumulative = jnp.cumsum(chances)
        drawn = chances > 0
        single = jnp.max(jnp.where(drawn, rows / jnp.where(drawn, chances, 1), 0))
    single = jnp.maximum(single, tiny)
    whole = single
    if batch_size > 1:
        # The mean of the rows' constants is a bound.
        whole = jnp.maximum(jnp.minimum(_mean_smoothness(model, curvature), mean), tiny)
    smoothness = whole + (single - whole) / batch_size
    return RowSampling(cumulative, single, whole, smoothness, batch_size)


def _mean_smoothness(model: LinearModel, curvature: Scalar) -> Scalar:
    """About the smoothness of the mean, by few products: the step sizes leave room for an estimate from below."""
    design: AbstractOperator
    if model.weights is None:
        design = model.design
    else:
        factors = _tree.safe_sqrt(model.row_weights * model.num_rows)
        dense = isinstance(model.design, DenseOperator)
        design = DenseOperator(factors[:, None] * model.design.matrix) if dense else RowScaled(model.design, factors)  # type: ignore[attr-defined]
    return 1.1 * curvature * spectral_norm(design, rtol=1e-3, max_steps=8) ** 2 / model.num_rows


def _strata(num_rows: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of the strata of consecutive rows begins, and how many rows it has."""
    bounds = np.arange(count + 1) * num_rows // count
    return bounds[:-1], np.diff(bounds)
