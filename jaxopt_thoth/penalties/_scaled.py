import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import every, indicator, times
from ._wrapper import AbstractWrapper


class Scaled(AbstractWrapper):
    """A penalty times a nonnegative factor, `factor * g(x)`; also written `factor * penalty`.

    The indicator of a set stays what it is, whatever the factor. Raises `ValueError` for a known negative factor.

    Parikh and Boyd, "Proximal algorithms", 2014, chapter 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> float((3.0 * penalties.L1(2.0)).value(jnp.array([1.0, -1.0])))
        12.0
    """

    factor: Scalar

    def __init__(self, penalty: AbstractPenalty, factor: ArrayLike):
        require_nonnegative(factor, "factor")
        self.penalty = penalty
        self.factor = _tree.setting(factor)

    def _factor(self, x: Params) -> tuple[Scalar, Scalar]:
        factor = self.factor.astype(_tree.dtype_of(x))
        return factor, 1 / jnp.where(factor > 0, factor, 1)

    def value(self, x: Params) -> Scalar:
        value = self.penalty.value(x)
        return value if self.is_indicator else self.factor.astype(value.dtype) * value

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return self.penalty.prox(x, self.factor * jnp.asarray(step).astype(self.factor.dtype))

    def conjugate(self, dual: Params) -> Scalar:
        if self.is_indicator:
            return self.penalty.conjugate(dual)
        factor, inverse = self._factor(dual)
        inner = factor * self.penalty.conjugate(times(dual, inverse))
        return jnp.where(factor > 0, inner, indicator(every(lambda u: u == 0, dual), dual))

    def dual_scale(self, dual: Params) -> Scalar:
        if self.is_indicator:
            return self.penalty.dual_scale(dual)
        factor, inverse = self._factor(dual)
        at_zero = jnp.where(every(lambda u: u == 0, dual), 1, 0).astype(factor.dtype)
        return jnp.where(factor > 0, self.penalty.dual_scale(times(dual, inverse)), at_zero)

    def linear_minimizer(self, gradient: Params) -> Params:
        return self.penalty.linear_minimizer(gradient) if self.is_indicator else super().linear_minimizer(gradient)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        if self.is_indicator:
            return self.penalty.minimal_subgradient(x, gradient)
        factor, inverse = self._factor(x)
        inner = times(self.penalty.minimal_subgradient(x, times(gradient, inverse)), factor)
        return _tree.where(factor > 0, inner, gradient)

    def support(self, x: Params) -> Params:
        if self.is_indicator:
            return self.penalty.support(x)
        return jax.tree.map(lambda mask: mask | (self.factor == 0), self.penalty.support(x))

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest strength of the inner penalty, at this factor, for which zero solves `f + g`."""
        factor = self.factor.astype(_tree.dtype_of(gradient_at_zero))
        return self.penalty.critical_strength(gradient_at_zero) / factor
