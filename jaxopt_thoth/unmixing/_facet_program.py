"""The quadratic program of SISAL and MVSA: how far the facets of a simplex move, at a price for pixels beyond them."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
_MAX_STEPS = 50
_TO_BOUNDARY = 0.99


class _Point(NamedTuple):
    """`slack - excess` are the new abundances, `dual` and `price - dual` the multipliers of the two; p x N each."""

    change: Float[Array, "p p"]
    balance: Float[Array, " p"]
    slack: Float[Array, "p N"]
    dual: Float[Array, "p N"]
    # None without a price.
    excess: Any


class _State(NamedTuple):
    point: _Point
    error: Scalar
    finite: BoolScalar
    num_steps: IntScalar


def relative_change(abundances: Float[Array, "p N"], price: Scalar | None, tol: Scalar) -> Float[Array, "p p"]:
    """Minimizer D of `|D|^2 / 2 - tr D + price * sum max(-(A + D A), 0)` over columns of sum zero, to a gap of `tol`.

    Without a price, `A + D A` may not be negative. By the predictor and corrector of Mehrotra. Every row of D has
    constraints of its own, so that a step solves p systems (p, p) and one that couples them: O(p^3 N) time and O(p N)
    memory for all pixels at once, where a general solver would hold a matrix (p N, p^2).
    """
    count, number = abundances.shape
    dtype = abundances.dtype
    identity = jnp.eye(count, dtype=dtype)

    def complements(point: _Point) -> Array:
        """Products of the inequalities with their multipliers, one or two for each pixel and facet."""
        pairs = [point.slack * point.dual]
        if price is not None:
            pairs.append(point.excess * (price - point.dual))
        return jnp.stack(pairs)

    def residuals(point: _Point) -> tuple[Array, Array, Array]:
        stationary = point.change - identity - _matmul(point.dual, abundances.T) - point.balance[None, :]
        feasible = abundances + _matmul(point.change, abundances) - point.slack
        feasible = feasible if price is None else feasible + point.excess
        return stationary, feasible, jnp.sum(point.change, axis=0)

    def error(point: _Point) -> Scalar:
        return jnp.maximum(
            jnp.sum(complements(point)), jnp.stack([jnp.max(jnp.abs(r)) for r in residuals(point)]).max()
        )

    def longest(point: _Point, move: _Point) -> Scalar:
        """The longest step, at most one, that keeps the inequalities and their multipliers nonnegative."""
        lengths = [_reach(point.slack, move.slack), _reach(point.dual, move.dual)]
        if price is not None:
            lengths += [_reach(point.excess, move.excess), _reach(price - point.dual, -move.dual)]
        return jnp.stack(lengths).min()

    def step(state: _State) -> _State:
        point = state.point
        stationary, feasible, sums = residuals(point)
        spare: Any = None if price is None else price - point.dual
        stiffness = point.slack if price is None else point.slack + point.dual * point.excess / spare
        ratio = point.dual / stiffness
        curvature = lambda weights: identity + _matmul(abundances * weights[None, :], abundances.T)
        inverse = lambda h: cho_solve(cho_factor(h, lower=True), identity)
        inverses = jax.vmap(inverse)(jax.lax.map(curvature, ratio))
        coupling = jnp.sum(inverses, axis=0)

        def direction(products: Array) -> _Point:
            """The step that changes the complements by `products`, to first order."""
            room = feasible if price is None else feasible + products[1] / spare
            pushed = _matmul((products[0] - point.dual * room) / stiffness, abundances.T) - stationary
            own = jax.vmap(_matmul)(inverses, pushed)
            balance = jnp.linalg.solve(coupling, -sums - jnp.sum(own, axis=0))
            change = own + _matmul(inverses, balance)
            dual = (products[0] - point.dual * (room + _matmul(change, abundances))) / stiffness
            excess: Any = None if price is None else (products[1] + point.excess * dual) / spare
            slack = feasible + _matmul(change, abundances)
            return _Point(change, balance, slack if price is None else slack + excess, dual, excess)

        product = complements(point)
        guess = direction(-product)
        ahead = _along(point, guess, longest(point, guess))
        mean, aim = jnp.mean(product), jnp.mean(complements(ahead))
        second = [guess.slack * guess.dual] + ([] if price is None else [-guess.excess * guess.dual])
        move = direction(mean * (aim / mean) ** 3 - product - jnp.stack(second))
        # One length for both sides, which meet in the stationarity of a quadratic objective.
        new = _along(point, move, _TO_BOUNDARY * longest(point, move))
        new_error = error(new)
        finite = jnp.isfinite(new_error)
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, point)
        return _State(kept, jnp.where(finite, new_error, state.error), finite, state.num_steps + 1)

    slack = jnp.maximum(abundances, 0) + 0.1 / count
    excess = None
    if price is None:
        dual = 1 / (number * slack)
    else:
        # Multipliers sum to about one for each facet, and none may reach the price.
        dual = price / (1 + price * number * slack)
        excess = jnp.maximum(slack - abundances, 0.1 / count)
    start = _Point(0 * identity, jnp.zeros(count, dtype), slack, dual, excess)
    first = _State(start, jnp.asarray(jnp.inf, dtype), jnp.asarray(True), jnp.asarray(0, jnp.int32))
    go_on = lambda s: (s.error > tol) & s.finite & (s.num_steps < _MAX_STEPS)
    found = while_loop(go_on, step, first).point.change
    return found - jnp.mean(found, axis=0)[None, :]


def _along(point: _Point, move: _Point, length: Scalar) -> _Point:
    return jax.tree.map(lambda a, b: a + length * b, point, move)


def _reach(values: Array, change: Array) -> Scalar:
    falls = change < 0
    return jnp.min(jnp.where(falls, -values / jnp.where(falls, change, 1), 1), initial=1)
