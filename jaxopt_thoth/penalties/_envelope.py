from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ._base import AbstractPenalty
from ._parts import fills, times
from ._wrapper import AbstractWrapper


class Envelope(AbstractWrapper):
    """The Moreau envelope of a penalty as a penalty, `min_z g(z) + |z - x|^2 / (2 smoothing)`.

    It has the minimizers of g and, for a convex g, a gradient of Lipschitz constant `1 / smoothing`: the envelope of
    `L1` is `Huber`. Raises `ValueError` for a known smoothing that is not positive.

    Moreau, "Proximité et dualité dans un espace hilbertien", 1965; the prox is theorem 6.63 of Beck, "First-order
    methods in optimization", 2017.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Envelope(penalties.L1(1.0), 0.5).prox(jnp.array([3.0, 0.75]), step=1.0).tolist()
        [2.0, 0.25]
    """

    smoothing: Scalar

    is_indicator: ClassVar[bool] = False

    def __init__(self, penalty: AbstractPenalty, smoothing: ArrayLike):
        require_positive(smoothing, "smoothing")
        self.penalty = penalty
        self.smoothing = _tree.setting(smoothing)

    def value(self, x: Params) -> Scalar:
        return self.penalty.envelope(x, self.smoothing)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        smoothing = self.smoothing.astype(_tree.dtype_of(x))
        step = jnp.asarray(step).astype(smoothing.dtype)
        total = smoothing + step
        inner = self.penalty.prox(x, total)
        # A mean of the two, where the difference would cancel.
        return _tree.add(times(x, smoothing / total), times(inner, step / total))

    def conjugate(self, dual: Params) -> Scalar:
        squared = _tree.squared_norm(dual)
        return self.penalty.conjugate(dual) + 0.5 * self.smoothing.astype(squared.dtype) * squared

    def dual_scale(self, dual: Params) -> Scalar:
        return self.penalty.dual_scale(dual)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        pull = _tree.sub(x, self.penalty.prox(x, self.smoothing))
        return _tree.add(gradient, times(pull, 1 / self.smoothing))

    def support(self, x: Params) -> Params:
        return fills(x)
