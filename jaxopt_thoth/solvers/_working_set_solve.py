"""The problem over the columns of a working set: prox-Newton steps, each a quadratic model on a Gram matrix."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar
from ..losses import Multinomial
from ..penalties import AbstractPenalty
from ..problems import Composite
from ..smooth import LinearModel
from ._working_set_columns import AbstractColumns, TILE
from ._working_set_inner import minimize_model
from ._working_set_rows import row_values, rows_of, violations


_NEWTON_STEPS = 30
_HALVINGS = 30
_DECREASE = 1e-4
# Relative change of the curvatures of the losses after which the Gram matrix is computed anew: where the last step left
# more than a part of the violation, and at any rate.
_STALE, _VERY_STALE = 0.05, 1.0
_SLOW = 0.5
# Least curvature of a row of data, relative to the bound: flat losses would leave the model without a minimum.
_FLAT = 1e-2


class WorkingSet(eqx.Module):
    """The columns in play.

    Attributes:
        slots: their indices, `p` in slots that are free.
        size: number of slots in use.
        columns: the columns themselves.
        gram: their Gram matrix under `row_curvatures`.
        row_curvatures: second derivative of each loss, times its share in the mean.
    """

    slots: Int[Array, " m"]
    size: IntScalar
    columns: AbstractColumns
    gram: Float[Array, "m m"]
    row_curvatures: Float[Array, " n"]


class _Newton(NamedTuple):
    x: Array
    image: Array
    gradient: Array
    gram: Array
    row_curvatures: Array
    first: Array
    violation: Array
    slow: Array
    num_steps: Array


def model_of(problem: Composite) -> LinearModel:
    """The smooth term; raises `TypeError` where it is no `LinearModel`."""
    smooth = problem.smooth
    if isinstance(smooth, LinearModel):
        return smooth
    raise TypeError(
        f"WorkingSetDescent needs a LinearModel as smooth term, got {type(smooth).__name__}; "
        "use BlockCoordinateDescent or ProximalGradient."
    )


def shares(smooth: LinearModel) -> Float[Array, " n"] | None:
    return None if smooth.weights is None else smooth.row_weights


def losses_at(smooth: LinearModel, image: Array) -> Scalar:
    return jnp.sum(smooth.share(smooth.loss(image, smooth.targets)))


def curvatures_at(smooth: LinearModel, image: Float[Array, "n *k"]) -> Float[Array, " n"]:
    """Upper bound of the second derivative of the loss of each row at its scores, times its share in the mean."""
    loss = smooth.loss
    bounded = loss.has_bounded_curvature
    if loss.is_quadratic or isinstance(loss, Multinomial):
        return smooth.share(jnp.full(image.shape[0], 1, image.dtype) * jnp.asarray(loss.curvature, image.dtype))
    slope = lambda scores: loss.derivative(scores, smooth.targets)
    found = jax.jvp(slope, (image,), (jnp.ones_like(image),))[1].reshape(image.shape[0], -1).max(1)
    floor = _FLAT * jnp.asarray(loss.curvature, image.dtype) if bounded else 1e-6 * jnp.mean(found)
    return smooth.share(jnp.maximum(found, floor))


def column_curvatures(smooth: LinearModel, image: Array, norms: Float[Array, " p"]) -> Float[Array, " p"]:
    """Curvature of the smooth term along each entry; a small one for columns of zeros."""
    if smooth.loss.has_bounded_curvature:
        bound = jnp.asarray(smooth.loss.curvature, norms.dtype)
    else:
        bound = jnp.sum(curvatures_at(smooth, image))
    return lifted(bound * norms**2)


def lifted(curvatures: Float[Array, " m"]) -> Float[Array, " m"]:
    # A column of zeros leaves its row to the penalty, at a long step.
    peak = jnp.max(curvatures, initial=0)
    return jnp.maximum(curvatures, jnp.where(peak > 0, float(jnp.finfo(curvatures.dtype).eps) * peak, 1))


def solve_set(
    problem: Composite,
    params: Float[Array, "p *k"],
    image: Float[Array, "n *k"],
    work: WorkingSet,
    first: IntScalar,
    worst: Scalar,
    tolerance: Scalar,
) -> tuple[Float[Array, "p *k"], Float[Array, "n *k"], WorkingSet]:
    """Parameters, with their image, that solve the problem over the columns of the set, and the set with its matrix.

    `first` is the first tile of columns that the matrix lacks, `worst` the largest violation now.
    """
    smooth, columns = model_of(problem), work.columns
    design = smooth.design
    members = jnp.minimum(work.slots, params.shape[0] - 1)
    rows = rows_of(problem.penalty, members, params.shape)
    inside = jnp.arange(work.slots.size, dtype=jnp.int32) < work.size
    x = jnp.where(_tree.along_rows(inside, params), params[members], 0)
    stop = (work.size + TILE - 1) // TILE

    def gradient_at(image: Array) -> Array:
        return columns.correlate(design, smooth.share(smooth.loss.derivative(image, smooth.targets)))

    def filled(
        gram: Array, row_curvatures: Array, image: Array, first: Array, slow: BoolScalar
    ) -> tuple[Array, Array, Array]:
        fresh = curvatures_at(smooth, image)
        change = jnp.sum(jnp.abs(fresh - row_curvatures)) / jnp.sum(row_curvatures)
        # A step on an old matrix costs two products with the design, a new matrix as many as there are columns.
        stale = (change > jnp.where(slow, _STALE, _VERY_STALE)) | ~(change >= 0)
        used = jnp.where(stale, fresh, row_curvatures)
        gram = columns.fill_gram(design, used, gram, jnp.where(stale, 0, first), stop)
        return gram, used, lifted(jnp.diagonal(gram))

    def finish(x: Array, image: Array, gram: Array, used: Array) -> tuple[Array, Array, WorkingSet]:
        done = WorkingSet(work.slots, work.size, columns, gram, used)
        return params.at[work.slots].set(x, mode="drop"), image, done

    if smooth.loss.is_quadratic:
        gram, used, curvatures = filled(work.gram, work.row_curvatures, image, first, jnp.asarray(True))
        new = minimize_model(gram, curvatures, work.size, rows, x, gradient_at(image), tolerance)
        return finish(new, image + columns.combine(design, new - x), gram, used)

    def advance(carry: _Newton) -> _Newton:
        gram, used, curvatures = filled(carry.gram, carry.row_curvatures, carry.image, carry.first, carry.slow)
        within = jnp.maximum(0.5 * tolerance, 0.03 * carry.violation)
        target = minimize_model(gram, curvatures, work.size, rows, carry.x, carry.gradient, within)
        change = target - carry.x
        new, image = _searched(smooth, rows, inside, carry, change, columns.combine(design, change))
        gradient = gradient_at(image)
        left = violation(new, gradient, curvatures)
        slow = left > _SLOW * carry.violation
        return _Newton(new, image, gradient, gram, used, stop, left, slow, carry.num_steps + 1)

    def violation(x: Array, gradient: Array, curvatures: Array) -> Scalar:
        return jnp.max(jnp.where(inside, violations(rows, x, gradient, curvatures), 0), initial=0)

    def continues(carry: _Newton) -> BoolScalar:
        return (carry.violation > tolerance) & (carry.num_steps < _NEWTON_STEPS)

    # The first step meets the violations outside of the set.
    worst = jnp.maximum(worst, 2 * tolerance)
    slope = gradient_at(image)
    slow = jnp.asarray(True)
    start = _Newton(x, image, slope, work.gram, work.row_curvatures, first, worst, slow, jnp.zeros((), jnp.int32))
    end = while_loop(continues, advance, start)
    return finish(end.x, end.image, end.gram, end.row_curvatures)


def _searched(
    smooth: LinearModel,
    rows: AbstractPenalty,
    inside: Bool[Array, " m"],
    carry: _Newton,
    change: Float[Array, "m *k"],
    image_change: Float[Array, "n *k"],
) -> tuple[Float[Array, "m *k"], Float[Array, "n *k"]]:
    """The rows and their image after the longest step, of halves of one, along which the objective falls enough."""
    old_losses, old_penalty = losses_at(smooth, carry.image), row_values(rows, carry.x, inside)
    slope = _tree.vdot(carry.gradient, change)
    # Near the solution a fall is below the rounding of the objective.
    slack = 8 * float(jnp.finfo(slope.dtype).eps) * (jnp.abs(old_losses) + jnp.abs(old_penalty))

    def fails(step: Scalar) -> BoolScalar:
        risen = row_values(rows, carry.x + step * change, inside) - old_penalty
        rise = losses_at(smooth, carry.image + step * image_change) - old_losses + risen
        return ~(rise <= _DECREASE * jnp.minimum(step * slope + risen, 0) + slack)

    def halve(tried: tuple[Scalar, BoolScalar, IntScalar]) -> tuple[Scalar, BoolScalar, IntScalar]:
        step = tried[0] / 2
        return step, fails(step), tried[2] + 1

    one = jnp.ones((), slope.dtype)
    step, failed, _ = while_loop(lambda c: c[1] & (c[2] < _HALVINGS), halve, (one, fails(one), jnp.asarray(0)))
    step = jnp.where(failed, 0, step)
    return carry.x + step * change, jnp.where(failed, carry.image, carry.image + step * image_change)
