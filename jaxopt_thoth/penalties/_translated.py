from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ._base import AbstractPenalty
from ._wrapper import AbstractWrapper


class Translated(AbstractWrapper):
    """A penalty whose origin is moved, `g(x - offset)`: what pulled to zero pulls to `offset`.

    `offset` is a pytree like `x` or a prefix of it; its leaves broadcast to those of `x`.

    Parikh and Boyd, "Proximal algorithms", 2014, chapter 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Translated(penalties.L1(1.0), 5.0).prox(jnp.array([4.5, 9.0]), step=1.0).tolist()
        [5.0, 8.0]
    """

    offset: Params

    def __init__(self, penalty: AbstractPenalty, offset: Params | ArrayLike):
        self.penalty = penalty
        self.offset = _tree.settings(offset)

    def _moved(self, x: Params) -> Params:
        return _tree.sub(x, _tree.expand(self.offset, x, "offset"))

    def value(self, x: Params) -> Scalar:
        return self.penalty.value(self._moved(x))

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return _tree.add(self.penalty.prox(self._moved(x), step), _tree.expand(self.offset, x, "offset"))

    def conjugate(self, dual: Params) -> Scalar:
        return self.penalty.conjugate(dual) + _tree.vdot(_tree.expand(self.offset, dual, "offset"), dual)

    def dual_scale(self, dual: Params) -> Scalar:
        return self.penalty.dual_scale(dual)

    def linear_minimizer(self, gradient: Params) -> Params:
        return _tree.add(self.penalty.linear_minimizer(gradient), _tree.expand(self.offset, gradient, "offset"))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return self.penalty.minimal_subgradient(self._moved(x), gradient)

    def support(self, x: Params) -> Params:
        return self.penalty.support(self._moved(x))
