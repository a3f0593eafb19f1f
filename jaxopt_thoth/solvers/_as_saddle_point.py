"""A composite problem as one of splitting methods: the smooth term by its prox, or by that of a loss of the scores."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._loop import while_loop
from .._types import Params, Scalar
from ..losses import AbstractLoss, Multinomial
from ..losses._domain import rows_like
from ..operators import DenseOperator
from ..penalties import AbstractPenalty, LeastSquares, Quadratic as QuadraticPenalty, Zero
from ..problems import Composite, SaddlePoint
from ..smooth import LinearModel, Quadratic


class MeanLoss(AbstractPenalty):
    """The mean over rows of a pointwise loss of the scores, as a term with a prox."""

    loss: AbstractLoss
    targets: Shaped[Array, "n *k"]
    weights: Float[Array, " n"] | None = None  # they sum to one

    def value(self, x: Float[Array, "n *k"]) -> Scalar:
        losses = self.loss(x, self.targets)
        if self.weights is not None:
            return jnp.sum(rows_like(self.weights, losses) * losses)
        return jnp.sum(losses) / len(self.targets)

    def prox(self, x: Float[Array, "n *k"], step: ArrayLike) -> Float[Array, "n *k"]:
        if self.weights is not None:
            return _loss_prox(self.loss, self.targets, x, _tree.match(step, x) * rows_like(self.weights, x))
        return _loss_prox(self.loss, self.targets, x, _tree.match(step, x) / len(self.targets))

    def conjugate(self, dual: Float[Array, "n *k"]) -> Scalar:
        if self.weights is not None:
            weights = rows_like(self.weights, dual)
            positive = weights > 0
            terms = self.loss.conjugate(dual / jnp.where(positive, weights, 1), self.targets)
            # A row without weight has the conjugate of zero.
            return jnp.sum(jnp.where(positive, weights * terms, jnp.where(dual == 0, 0, jnp.inf)))
        n = len(self.targets)
        return jnp.sum(self.loss.conjugate(n * dual, self.targets)) / n


def _loss_prox(loss: AbstractLoss, targets: Array, x: Array, step: Array) -> Array:
    """The z with `z + step loss'(z) = x`, entry by entry: closed for squares, else Newton's method in a bracket."""
    if loss.is_quadratic:
        return x - step / (1 + step) * loss.derivative(x, targets)
    if not loss.is_smooth:
        return loss.prox(x, step, targets)

    def look(z: Array, x: Array, step: Array) -> tuple[Array, Array]:
        slope, bend = jax.jvp(lambda s: loss.derivative(s, targets), (z,), (jnp.ones_like(z),))
        return z - x + step * slope, 1 + step * bend

    held, width = jax.lax.stop_gradient((x, step))
    frozen_loss = _tree.stop_gradient(loss)
    # The slope of the equation is at least one, so that its value bounds how far the root is.
    far = held - width * frozen_loss.derivative(held, targets)
    eps = float(jnp.finfo(x.dtype).eps)

    def narrow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        z, low, high, _, count = carry
        excess, slope = look(z, held, width)
        low, high = jnp.where(excess < 0, z, low), jnp.where(excess > 0, z, high)
        newton = z - excess / slope
        middle = low + (high - low) / 2
        # Every third step halves the bracket, whatever Newton's method makes of it.
        inside = (newton >= low) & (newton <= high) & (count % 3 != 2)
        new = jnp.where(inside, newton, middle)
        moves = jnp.abs(new - z) > 4 * eps * (jnp.abs(new) + jnp.abs(held))
        return new, low, high, jnp.any(moves), count + 1

    start = held, jnp.minimum(held, far), jnp.maximum(held, far), jnp.asarray(True), jnp.asarray(0, jnp.int32)
    z = jax.lax.stop_gradient(while_loop(lambda c: c[3] & (c[4] < 200), narrow, start)[0])
    # One step more, by which derivatives are those of the equation.
    excess, slope = look(z, x, step)
    return z - excess / jax.lax.stop_gradient(slope)


def require_split(problem: Composite, params: Params, name: str, *, scores: bool) -> None:
    """Raise where f has neither a prox nor, with `scores`, a pointwise loss of them."""
    smooth = problem.smooth
    if not problem.penalty.is_convex:
        raise ValueError(f"{name} needs a convex penalty, and {type(problem.penalty).__name__} is not.")
    quadratic = isinstance(smooth, Quadratic) or (isinstance(smooth, LinearModel) and smooth.loss.is_quadratic)
    if scores and isinstance(smooth, LinearModel):
        if isinstance(smooth.loss, Multinomial):
            raise TypeError(f"{name} needs a loss of one score, got Multinomial; use ProximalGradient().")
        return
    if not quadratic:
        also = "LinearModel" if scores else "LinearModel with losses.Squared()"
        raise TypeError(
            f"{name} needs a Quadratic or a {also} as smooth term, whose prox is known, got {type(smooth).__name__}; "
            "use ProximalGradient(), or pass a SaddlePoint."
        )
    matrix = smooth.design if isinstance(smooth, LinearModel) else smooth.matrix  # type: ignore[attr-defined]
    if not isinstance(matrix, DenseOperator) or params.ndim != 1:
        raise TypeError(
            f"{name} needs a dense matrix and params of shape (p,) for the prox of the smooth term; use "
            "ProximalGradient()."
        )


def smooth_prox(problem: Any, *, scores: bool) -> AbstractPenalty | None:
    """The smooth term of a composite problem as a factored penalty; None where a loss of its scores serves."""
    if not isinstance(problem, Composite) or (scores and isinstance(problem.smooth, LinearModel)):
        return None
    if isinstance(problem.smooth, LinearModel):
        smooth = problem.smooth
        if smooth.weights is None:
            return LeastSquares(smooth.design.matrix, smooth.targets, 1 / smooth.num_rows)  # type: ignore[attr-defined]
        factors = _tree.safe_sqrt(smooth.row_weights)
        return LeastSquares(factors[:, None] * smooth.design.matrix, factors * smooth.targets, 1.0)  # type: ignore[attr-defined]
    return QuadraticPenalty(problem.smooth.matrix.matrix, problem.smooth.vector)  # type: ignore[attr-defined]


def as_saddle_point(problem: Any, term: AbstractPenalty | None) -> SaddlePoint:
    """A saddle point with the solutions of the problem, given its `smooth_prox`."""
    if isinstance(problem, SaddlePoint):
        return problem
    if term is None:
        smooth = problem.smooth
        weights = None if smooth.weights is None else smooth.row_weights
        return SaddlePoint(None, problem.penalty, MeanLoss(smooth.loss, smooth.targets, weights), smooth.design)
    return SaddlePoint(None, problem.penalty, term)


def with_zero(problem: Any) -> SaddlePoint:
    """The same sum with a third term that is zero."""
    return problem if isinstance(problem, SaddlePoint) else SaddlePoint(problem.smooth, problem.penalty, Zero())


def first_pair(problem: Any, saddle: SaddlePoint, params: Params) -> Params:
    """The pair to start from: of a composite problem x with the derivative of f there, in the image of x."""
    if isinstance(problem, SaddlePoint):
        return params
    if saddle.operator is None:
        return params, problem.smooth.gradient(params)
    smooth = problem.smooth
    return params, smooth.share(smooth.loss.derivative(smooth.image(params), smooth.targets))


def of_kind(problem: Any, pair: Params) -> Params:
    """What a solution of the problem is: the pair, or x alone."""
    return pair if isinstance(problem, SaddlePoint) else pair[0]
