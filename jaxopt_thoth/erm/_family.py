"""A penalty and its multiples: the family along which a path runs."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .. import _tree
from .._types import Scalar
from ..penalties import AbstractPenalty, ElasticNet, GroupLasso, L1, L2Squared
from ._problem import Problem


PenaltyOf = Callable[[Scalar], AbstractPenalty]

# Strengths are sought within this power of two of the largest entry of the gradient.
_SPAN = 60
_HALVINGS = 120


def scaled(penalty: AbstractPenalty, strength: Scalar) -> AbstractPenalty:
    """The penalty times a number, of the same kind where its strength can take it in."""
    if isinstance(penalty, L1 | L2Squared | ElasticNet):
        return jax.tree.map(lambda leaf: leaf * strength.astype(leaf.dtype), penalty)
    if isinstance(penalty, GroupLasso):
        return eqx.tree_at(lambda g: g.strength, penalty, penalty.strength * strength.astype(penalty.strength.dtype))
    return strength * penalty


def with_strength(problem: Problem, strength: Scalar, penalty_of: PenaltyOf | None) -> Problem:
    penalty = scaled(problem.penalty, strength) if penalty_of is None else penalty_of(strength)
    return eqx.tree_at(lambda p: p.penalty, problem, penalty)


def slope_at_zero(problem: Problem) -> Array:
    """Gradient in w at the best constant model."""
    composite = problem.composite
    gradient = composite.smooth.gradient(problem.constant_model())
    return gradient[:-1] if problem.fit_intercept else gradient


def first_strength(problem: Problem, slope: Array, penalty_of: PenaltyOf | None) -> Scalar:
    """Least strength at which zero is a solution, whatever the family, by bisection; infinite where there is none.

    Zero minimizes `<slope, w> + g(w)` exactly where it is the prox of `-slope`.
    """
    steepest = jnp.max(jnp.abs(slope), initial=0)
    unit = jnp.where(steepest > 0, steepest, 1)

    def vanishes(exponent: Scalar) -> Array:
        penalty = with_strength(problem, unit * 2**exponent, penalty_of).penalty
        return jnp.all(penalty.prox(-slope, 1.0) == 0)

    def halve(_: int, bracket: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = bracket
        middle = (low + high) / 2
        inside = vanishes(middle)
        return jnp.where(inside, low, middle), jnp.where(inside, middle, high)

    ends = jnp.asarray(-_SPAN, slope.dtype), jnp.asarray(_SPAN, slope.dtype)
    high = lax.fori_loop(0, _HALVINGS, halve, ends)[1]
    return lax.stop_gradient(jnp.where(vanishes(ends[1]), unit * 2**high, jnp.inf))


def geometric(first: Scalar, num: int, ratio: float) -> Array:
    """`num` strengths from the first down to `ratio` of it."""
    return first * jnp.asarray(ratio, first.dtype) ** jnp.linspace(0, 1, num, dtype=first.dtype)


def default_ratio(problem: Problem) -> float:
    n, p = problem.design.shape
    return 1e-2 if n < p else 1e-3


def grid_of(problem: Problem, num: int, ratio: float | None, penalty_of: PenaltyOf | None) -> Array:
    """The strengths of a path where none were given."""
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}.")
    ratio = default_ratio(problem) if ratio is None else ratio
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1], got {ratio}: the last strength over the first.")
    return _grid(_tree.stop_gradient(problem), num, ratio, penalty_of)


@eqx.filter_jit
def _grid(problem: Problem, num: int, ratio: float, penalty_of: PenaltyOf | None) -> Array:
    return geometric(first_strength(problem, slope_at_zero(problem), penalty_of), num, ratio)
