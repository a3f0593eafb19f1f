from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from .._types import BoolScalar, Scalar
from ..problems import Composite
from ._base import AbstractStop, Step


def _errors(stops: tuple[AbstractStop, ...], problem: Composite, step: Step) -> tuple[list[Scalar], list[BoolScalar]]:
    # A criterion that skips this step must not take another criterion's error for its own.
    fresh = eqx.tree_at(lambda s: s.last_error, step, jnp.full_like(step.last_error, jnp.inf))
    verdicts = [stop(problem, fresh) for stop in stops]
    errors = [_in_units(error, stop.tol.astype(error.dtype)) for stop, (error, _) in zip(stops, verdicts, strict=True)]
    return errors, [done for _, done in verdicts]


def _in_units(error: Scalar, tol: Scalar) -> Scalar:
    # A tolerance of zero that is met: 0 / 0, taken as 0.
    return jnp.where(error > 0, error / tol, error)


def _require_stops(stops: tuple[AbstractStop, ...]) -> tuple[AbstractStop, ...]:
    if not stops or not all(isinstance(stop, AbstractStop) for stop in stops):
        raise TypeError("Pass stopping criteria, for example AnyOf(RelativeChange(1e-6), DualityGap(1e-4)).")
    return stops


def _reduce(fn: Callable, values: list) -> Scalar:
    return fn(jnp.stack(values))


class AnyOf(AbstractStop):
    """Stop as soon as one of several criteria is met; the error is the least one in units of its tolerance.

    Raises:
        TypeError: if no criterion is given.

    Example:
        >>> from jaxopt_thoth import stopping
        >>> stop = stopping.AnyOf(stopping.RelativeChange(1e-9), stopping.DualityGap(1e-6))
    """

    stops: tuple[AbstractStop, ...]
    tol: Scalar

    def __init__(self, *stops: AbstractStop):
        self.stops = _require_stops(stops)
        self.tol = jnp.ones((), jnp.result_type(float))

    def __call__(self, problem: Composite, step: Step) -> tuple[Scalar, BoolScalar]:
        errors, done = _errors(self.stops, problem, step)
        return _reduce(jnp.min, errors), _reduce(jnp.any, done)


class AllOf(AbstractStop):
    """Stop when every one of several criteria is met; the error is the largest one in units of its tolerance.

    Raises:
        TypeError: if no criterion is given.

    Example:
        >>> from jaxopt_thoth import stopping
        >>> stop = stopping.AllOf(stopping.RelativeChange(1e-9), stopping.FixedPointResidual(1e-6))
    """

    stops: tuple[AbstractStop, ...]
    tol: Scalar

    def __init__(self, *stops: AbstractStop):
        self.stops = _require_stops(stops)
        self.tol = jnp.ones((), jnp.result_type(float))

    def __call__(self, problem: Composite, step: Step) -> tuple[Scalar, BoolScalar]:
        errors, done = _errors(self.stops, problem, step)
        return _reduce(jnp.max, errors), _reduce(jnp.all, done)
