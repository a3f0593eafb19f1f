from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import times
from ._wrapper import AbstractWrapper


class Regularized(AbstractWrapper):
    """A penalty plus a quadratic, `g(x) + strength/2 |x - center|^2`, which makes it strongly convex.

    `center` is a pytree like `x` or a prefix of it (default: the origin). The conjugate needs a positive strength.
    Raises `ValueError` for a known negative strength.

    Parikh and Boyd, "Proximal algorithms", 2014, chapter 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Regularized(penalties.L1(1.0), 1.0).prox(jnp.array([3.0, 0.5]), step=1.0).tolist()
        [1.0, 0.0]
    """

    strength: Scalar
    center: Params

    is_indicator: ClassVar[bool] = False

    def __init__(self, penalty: AbstractPenalty, strength: ArrayLike, center: Params | None = None):
        require_nonnegative(strength, "strength")
        self.penalty = penalty
        self.strength = _tree.setting(strength)
        self.center = None if center is None else _tree.settings(center)

    def _pull(self, x: Params) -> Params:
        """`strength * center`, like `x`."""
        center = _tree.zeros_like(x) if self.center is None else _tree.expand(self.center, x, "center")
        return times(center, self.strength)

    def value(self, x: Params) -> Scalar:
        moved = x if self.center is None else _tree.sub(x, _tree.expand(self.center, x, "center"))
        squared = _tree.squared_norm(moved)
        return self.penalty.value(x) + 0.5 * self.strength.astype(squared.dtype) * squared

    def prox(self, x: Params, step: ArrayLike) -> Params:
        step = jnp.asarray(step).astype(_tree.dtype_of(x))
        shrink = 1 / (1 + step * self.strength.astype(step.dtype))
        return self.penalty.prox(times(_tree.add_scaled(x, step, self._pull(x)), shrink), step * shrink)

    def conjugate(self, dual: Params) -> Scalar:
        inverse = 1 / self.strength.astype(_tree.dtype_of(dual))
        best = self.penalty.prox(times(_tree.add(dual, self._pull(dual)), inverse), inverse)
        return _tree.vdot(dual, best) - self.value(best)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        smooth = jax.tree.map(lambda g, a: g + self.strength.astype(a.dtype) * a, gradient, x)
        return self.penalty.minimal_subgradient(x, _tree.sub(smooth, self._pull(x)))

    def support(self, x: Params) -> Params:
        return self.penalty.support(x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest strength of the inner penalty for which zero solves `f + g`."""
        return self.penalty.critical_strength(_tree.sub(gradient_at_zero, self._pull(gradient_at_zero)))
