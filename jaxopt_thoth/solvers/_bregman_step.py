"""The Bregman step from a dual point, the search of its step size, and what mirror methods share."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import _tree
from .._loop import packed_while_loop
from .._types import BoolScalar, Params, Scalar
from .._validate import concrete
from ..mirror import AbstractMirrorMap
from ..problems import Composite
from ._inverse_curvature import guarded_ratio


MAX_TRIALS = 60


class BregmanPoint(eqx.Module):
    """Where a step starts: the primal point with its dual, and the smooth term there."""

    params: Params
    dual: Params
    image: Any
    value: Scalar
    gradient: Params


class BregmanTrial(eqx.Module):
    """The Bregman step from a point, for one step size."""

    step_size: Scalar
    params: Params
    dual: Params
    image: Any
    divergence: Scalar
    noise: Scalar
    distance: Scalar
    count: Scalar

    @property
    def bound(self) -> Scalar:
        return self.distance / self.step_size

    @property
    def accepted(self) -> BoolScalar:
        # Infinite values make the noise infinite too, and would pass.
        known = jnp.isfinite(self.divergence) & jnp.isfinite(self.distance) & _tree.all_finite(self.params)
        return known & (self.divergence <= self.bound * (1 + 1e-3) + self.noise)

    @property
    def exhausted(self) -> BoolScalar:
        """Whether the search gave up without a step that passes."""
        return ~self.accepted & (self.count >= MAX_TRIALS)


def move(
    problem: Composite, mirror_map: AbstractMirrorMap, dual: Params, gradient: Params, step_size: Scalar
) -> tuple[Params, Params]:
    """Point and dual of `argmin_x <gradient, x> + g(x) + divergence(x, from_dual(dual)) / step_size`."""
    moved = mirror_map.dual_step(dual, gradient, step_size)
    new_dual = mirror_map.center_dual(mirror_map.prox_dual(moved, problem.penalty, step_size))
    return mirror_map.from_centered_dual(new_dual), new_dual


def distance_between(
    mirror_map: AbstractMirrorMap, params: Params, dual: Params, old_params: Params, old_dual: Params
) -> Scalar:
    """Divergence of the mirror map, from whichever of points and duals tells it better."""
    if type(mirror_map).dual_divergence is AbstractMirrorMap.dual_divergence:
        # That would look for the points again, which are known here.
        return mirror_map.divergence(params, old_params)
    return mirror_map.dual_divergence(dual, old_dual)


def attempt(
    problem: Composite, mirror_map: AbstractMirrorMap, point: BregmanPoint, step_size: Scalar, count: Any = 0
) -> BregmanTrial:
    """The step with one step size, and what the search has to know of it."""
    params, dual = move(problem, mirror_map, point.dual, point.gradient, step_size)
    image = problem.smooth.image(params)
    divergence, noise = problem.smooth.divergence(params, image, point.params, point.image, point.value, point.gradient)
    distance = distance_between(mirror_map, params, dual, point.params, point.dual)
    return BregmanTrial(
        step_size, params, dual, image, divergence, noise, distance, jnp.asarray(count, divergence.dtype)
    )


def search(
    problem: Composite,
    mirror_map: AbstractMirrorMap,
    point: BregmanPoint,
    step_size: Scalar,
    shrink: Scalar,
    *,
    unrolled: bool,
) -> BregmanTrial:
    """Shorten the step until the divergence of f is at most that of the mirror map over the step size.

    Reverse mode cannot pass the search's loop: `unrolled` searches on frozen values, and takes the step once more.
    """
    if not unrolled:
        return _backtrack(problem, mirror_map, point, step_size, shrink)
    found = _backtrack(*_tree.stop_gradient((problem, mirror_map, point, step_size, shrink)))
    return attempt(problem, mirror_map, point, found.step_size, found.count)


def _backtrack(
    problem: Composite, mirror_map: AbstractMirrorMap, point: BregmanPoint, step_size: Scalar, shrink: Scalar
) -> BregmanTrial:
    def shorten(trial: BregmanTrial) -> BregmanTrial:
        # The step size that the measured relative curvature would have passed, kept within safe factors.
        measured = 0.95 * trial.distance / trial.divergence
        shorter = jnp.where(measured > trial.step_size / 100, measured, trial.step_size / 100)
        shrunk = shrink.astype(step_size.dtype) * trial.step_size
        proposed = jnp.where(trial.count < 0, trial.step_size, jnp.minimum(shorter, shrunk))
        return attempt(problem, mirror_map, point, proposed, trial.count + 1)

    def failed(trial: BregmanTrial) -> BoolScalar:
        again = ~trial.accepted & (trial.count < MAX_TRIALS) & jnp.isfinite(point.value)
        return (trial.count < 0) | again

    # The first trial is the loop's first round: XLA compiles it once.
    unknown = jnp.asarray(jnp.nan, point.value.dtype)
    first = (step_size, point.params, point.dual, point.image, unknown, unknown, unknown)
    return packed_while_loop(failed, shorten, BregmanTrial(*first, -jnp.ones_like(unknown)))


def inverse_relative_curvature(
    problem: Composite, mirror_map: AbstractMirrorMap, params: Params, dual: Params, gradient: Params
) -> Scalar:
    """Inverse curvature of f relative to the mirror map, along the step that starts from `params`."""
    _, direction = jax.jvp(mirror_map.from_dual, (dual,), (gradient,))
    return guarded_ratio(_tree.vdot(direction, gradient), problem.smooth.curvature_along(params, direction))


def residual_norm(problem: Composite, params: Params, gradient: Params, step: Scalar) -> Scalar:
    """Norm of the Euclidean prox-gradient residual `(w - prox(w - step gradient)) / step`.

    Unlike the length of a Bregman step it does not vanish where the geometry is merely steep, near its boundary. It is
    NaN where the parameters are not finite.
    """
    moved = problem.penalty.prox(_tree.add_scaled(params, -step, gradient), step)
    change = _tree.sub(params, moved)
    squared, zero_or_nan = _tree.inner_products((change, change), (params, _tree.zeros_like(params)))
    return _tree.safe_sqrt(squared + zero_or_nan) / step


def check_geometry(problem: Composite, mirror_map: AbstractMirrorMap, params: Params) -> None:
    """Raise `ValueError` for a start outside of the domain, or a penalty that the mirror map has no step for."""
    mirror_map.check(params)
    try:
        jax.eval_shape(lambda dual: mirror_map.prox_dual(dual, problem.penalty, jnp.ones(())), params)
    except NotImplementedError as error:
        raise ValueError(f"penalty does not fit mirror_map: {error}") from error
    if any(concrete(leaf) is None for leaf in jax.tree.leaves((params, problem.penalty))):
        return
    dual = mirror_map.to_dual(params)
    shifted = mirror_map.from_dual(jax.tree.map(lambda a: a + 1, dual))
    # Under `jit` what is computed from constants is traced too.
    if any(concrete(leaf) is None for leaf in jax.tree.leaves(shifted)):
        return
    pairs = zip(jax.tree.leaves(shifted), jax.tree.leaves(params), strict=True)
    # A dual that is known up to a constant only belongs to a map that keeps an equation.
    keeps = any(np.allclose(a, b, rtol=1e-4, atol=0) for a, b in pairs if a.size)
    if keeps and np.isfinite(problem.penalty.value(_tree.scale(1.5, params))):
        raise ValueError(
            f"penalty must be the indicator of what {type(mirror_map).__name__} keeps ({mirror_map.domain}), or its "
            f"limits are no solutions of the problem, got {type(problem.penalty).__name__}; pass for example "
            "penalties.Simplex()."
        )
