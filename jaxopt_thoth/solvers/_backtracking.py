"""The prox-gradient step from a point, and the search of its step size."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from .._loop import packed_while_loop
from .._types import BoolScalar, Params, Scalar
from ..problems import Composite


# A trial step shrinks at least by `shrink` and at most a hundredfold, so that this many reach any curvature.
_MAX_TRIALS = 60


class Point(eqx.Module):
    """Where the gradient of a step is taken."""

    params: Params
    image: Any
    value: Scalar
    gradient: Params


class Trial(eqx.Module):
    """The prox-gradient step from a point, for one step size."""

    step_size: Scalar
    params: Params
    image: Any
    squared_change: Scalar
    zero_or_nan: Scalar
    divergence: Scalar
    noise: Scalar
    count: Scalar

    @property
    def exhausted(self) -> BoolScalar:
        """Whether the search gave up without a step that passes."""
        return ~self.accepted & (self.count >= _MAX_TRIALS)

    @property
    def bound(self) -> Scalar:
        return self.squared_change / (2 * self.step_size)

    @property
    def accepted(self) -> BoolScalar:
        # Values that are infinite make the noise infinite too, and would pass.
        return jnp.isfinite(self.divergence) & (self.divergence <= self.bound * (1 + 1e-3) + self.noise)


def take_point(problem: Composite, params: Params, image: Any) -> Point:
    """Value and gradient of the smooth term at `params`, whose image is known."""
    value, gradient = problem.smooth.value_and_grad_at(params, image)
    return Point(params, image, value, gradient)


def is_defined(problem: Composite, point: Point) -> BoolScalar:
    """Whether the smooth term is finite at the point, as far as has to be looked."""
    return jnp.asarray(True) if problem.smooth.has_full_domain else jnp.isfinite(point.value)


def propose(problem: Composite, point: Point, step_size: Scalar) -> tuple[Params, Any]:
    """The prox-gradient step from a point with one step size, and its image."""
    new = problem.penalty.prox(_tree.add_scaled(point.params, -step_size, point.gradient), step_size)
    return new, problem.smooth.image(new)


def attempt(problem: Composite, point: Point, step_size: Scalar, count: Scalar) -> Trial:
    """The prox-gradient step from a point with one step size, and what the search has to know of it."""
    new, image = propose(problem, point, step_size)
    divergence, noise = problem.smooth.divergence(new, image, point.params, point.image, point.value, point.gradient)
    change = _tree.sub(new, point.params)
    squared_change, zero_or_nan = _tree.inner_products((change, change), (new, _tree.zeros_like(new)))
    return Trial(step_size, new, image, squared_change, zero_or_nan, divergence, noise, count)


def search(problem: Composite, point: Point, step_size: Scalar, shrink: Array, *, unrolled: bool) -> Trial:
    """Shorten the step until the smooth term stays below its quadratic model.

    Reverse mode cannot pass the search's loop: `unrolled` searches on frozen values, and takes the step once more.
    """
    if not unrolled:
        return _backtrack(problem, point, step_size, shrink)
    found = _backtrack(*_tree.stop_gradient((problem, point, step_size, shrink)))
    return attempt(problem, point, found.step_size, found.count)


def _backtrack(problem: Composite, point: Point, step_size: Scalar, shrink: Array) -> Trial:
    def shorten(trial: Trial) -> Trial:
        # The step size that the measured curvature would have passed, kept within safe factors.
        measured = 0.95 * trial.step_size * trial.bound / trial.divergence
        shorter = jnp.where(measured > trial.step_size / 100, measured, trial.step_size / 100)
        shrunk = shrink.astype(step_size.dtype) * trial.step_size
        proposed = jnp.where(trial.count < 0, trial.step_size, jnp.minimum(shorter, shrunk))
        return attempt(problem, point, proposed, trial.count + 1)

    def failed(trial: Trial) -> BoolScalar:
        again = ~trial.accepted & (trial.count < _MAX_TRIALS) & is_defined(problem, point)
        return (trial.count < 0) | again

    # The first trial is the loop's first round: XLA compiles it once.
    unknown = jnp.asarray(jnp.nan, point.value.dtype)
    blank = Trial(step_size, point.params, point.image, unknown, unknown, unknown, unknown, -jnp.ones_like(unknown))
    return packed_while_loop(failed, shorten, blank)
