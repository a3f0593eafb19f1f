import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Scalar
from ..problems import AbstractProblem
from ._base import AbstractStop, Step


class AbstractCombination(AbstractStop):
    """Several criteria as one, whose errors are compared in units of their tolerances."""

    stops: tuple[AbstractStop, ...]
    tol: Scalar

    def __init__(self, *stops: AbstractStop):
        if not stops or not all(isinstance(stop, AbstractStop) for stop in stops):
            raise TypeError("Pass stopping criteria, for example AnyOf(RelativeChange(1e-6), DualityGap(1e-4)).")
        self.stops = stops
        self.tol = jnp.ones((), jnp.result_type(float))

    def verdicts(self, problem: AbstractProblem, step: Step) -> tuple[Array, Array]:
        """The error of each criterion over its tolerance, and whether each is met."""
        # A criterion that skips this step must not take another criterion's error for its own.
        fresh = eqx.tree_at(lambda s: s.last_error, step, jnp.full_like(step.last_error, jnp.inf))
        errors, done = zip(*(stop(problem, fresh) for stop in self.stops), strict=True)
        # A tolerance of zero that is met: 0 / 0, taken as 0.
        ratios = [
            jnp.where(error > 0, error / stop.tol.astype(error.dtype), error)
            for stop, error in zip(self.stops, errors, strict=True)
        ]
        return jnp.stack(ratios), jnp.stack(done)
