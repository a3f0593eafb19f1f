import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Scalar
from ._base import AbstractPenalty
from ._parts import indicator, slack
from ._wrapper import AbstractWrapper


class ExceptLast(AbstractWrapper):
    """A penalty on all entries (or rows) of one array but the last, which is free: the intercept of a linear model.

    The design of that model is `operators.WithIntercept`. The last entry of a dual variable has to vanish.
    An intercept is never penalized: Hastie, Tibshirani and Friedman, "The elements of statistical learning", 2009,
    chapter 3.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.ExceptLast(penalties.L1(1.0)).prox(jnp.array([3.0, 0.5, 9.0]), step=1.0).tolist()
        [2.0, 0.0, 9.0]
    """

    def __init__(self, penalty: AbstractPenalty):
        self.penalty = penalty

    def value(self, x: Float[Array, "p *k"]) -> Scalar:
        return self.penalty.value(x[:-1])

    def prox(self, x: Float[Array, "p *k"], step: ArrayLike) -> Float[Array, "p *k"]:
        step = jnp.asarray(step)
        inner = jnp.broadcast_to(step, x.shape)[:-1] if step.ndim else step
        return jnp.concatenate([self.penalty.prox(x[:-1], inner), x[-1:]])

    def conjugate(self, dual: Float[Array, "p *k"]) -> Scalar:
        return self.penalty.conjugate(dual[:-1]) + indicator(_vanishes(dual), dual)

    def dual_scale(self, dual: Float[Array, "p *k"]) -> Scalar:
        return jnp.where(_vanishes(dual), self.penalty.dual_scale(dual[:-1]), 0)

    def minimal_subgradient(self, x: Float[Array, "p *k"], gradient: Float[Array, "p *k"]) -> Float[Array, "p *k"]:
        return jnp.concatenate([self.penalty.minimal_subgradient(x[:-1], gradient[:-1]), gradient[-1:]])

    def support(self, x: Float[Array, "p *k"]) -> Bool[Array, "p *k"]:
        return jnp.concatenate([self.penalty.support(x[:-1]), jnp.ones(x[-1:].shape, bool)])

    def critical_strength(self, gradient_at_zero: Float[Array, "p *k"]) -> Scalar:
        """Smallest strength for which the free entry alone solves `f + g`, given the gradient at its best value."""
        return self.penalty.critical_strength(gradient_at_zero[:-1])


def _vanishes(dual: Array) -> Bool[Array, ""]:
    """Whether the last entry is zero, up to the rounding of sums that cancel."""
    return jnp.all(jnp.abs(dual[-1]) <= slack(dual, 1 + jnp.max(jnp.abs(dual[:-1]), initial=0)))
