"""How far a Frank-Wolfe direction is followed."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar
from ..problems import Composite
from ..smooth import AbstractSmooth, LinearModel, Quadratic


StepRule = Literal["short", "exact", "backtracking", "open_loop"]

# The estimate doubles at least with each trial, so that this many reach any curvature.
_MAX_TRIALS = 100


class Direction(eqx.Module):
    """A feasible direction from a point at which f is known.

    Attributes:
        slope: `-<gradient, move>`, what f falls by at first.
        most: longest step that stays in the set.
    """

    params: Params
    image: Any
    value: Scalar
    gradient: Params
    move: Params
    image_move: Any
    slope: Scalar
    most: Scalar


def is_quadratic(smooth: AbstractSmooth) -> bool:
    """Whether the term is known to be quadratic."""
    return isinstance(smooth, Quadratic) or (isinstance(smooth, LinearModel) and smooth.loss.is_quadratic)


def length(direction: Direction, curvature: Scalar) -> Scalar:
    """Minimizer of the quadratic model of this curvature along the direction, within the set."""
    bend = curvature * _tree.squared_norm(direction.move)
    free = jnp.where(bend > 0, direction.slope / jnp.where(bend > 0, bend, 1), direction.most)
    return jnp.where(direction.slope > 0, jnp.minimum(free, direction.most), 0)


def curvature_along(problem: Composite, direction: Direction) -> Scalar:
    """Curvature of a quadratic along the direction: the divergence from zero, where nothing cancels."""
    d = direction
    half, _ = problem.smooth.divergence(
        d.move, d.image_move, _tree.zeros_like(d.move), _tree.zeros_like(d.image_move), d.value, d.gradient
    )
    squares = _tree.squared_norm(d.move)
    return 2 * half / jnp.where(squares > 0, squares, 1)


def backtrack(problem: Composite, direction: Direction, curvature: Scalar) -> Scalar:
    """A curvature that bounds f along the step it leads to, from a first guess upwards."""
    problem, direction, curvature = _tree.stop_gradient((problem, direction, curvature))
    squares = _tree.squared_norm(direction.move)

    def attempt(curvature: Scalar) -> tuple[Scalar, BoolScalar]:
        """Curvature that was met, and whether the guess bounds it."""
        step = length(direction, curvature)
        new = _tree.add_scaled(direction.params, step, direction.move)
        image = _tree.add_scaled(direction.image, step, direction.image_move)
        d = direction
        divergence, noise = problem.smooth.divergence(new, image, d.params, d.image, d.value, d.gradient)
        half = step**2 * squares / 2
        # Values that are infinite make the noise infinite too, and would pass.
        passed = jnp.isfinite(divergence) & (divergence <= curvature * half * (1 + 1e-3) + noise)
        return divergence / jnp.where(half > 0, half, 1), passed

    def failed(carry: tuple[Scalar, Scalar, BoolScalar, IntScalar]) -> BoolScalar:
        _, _, passed, count = carry
        return ~passed & (count < _MAX_TRIALS) & jnp.isfinite(direction.value)

    def raise_guess(
        carry: tuple[Scalar, Scalar, BoolScalar, IntScalar],
    ) -> tuple[Scalar, Scalar, BoolScalar, IntScalar]:
        guess, met, _, count = carry
        jump = jnp.where(met < 100 * guess, met, 100 * guess)
        guess = jnp.maximum(2 * guess, 1.05 * jump)
        return guess, *attempt(guess), count + 1

    start = (curvature, *attempt(curvature), jnp.asarray(0, jnp.int32))
    return while_loop(failed, raise_guess, start)[0]
