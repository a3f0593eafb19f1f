from typing import ClassVar

from jaxtyping import ArrayLike

from .._types import Params, Scalar
from ._base import AbstractPenalty
from ._wrapper import AbstractWrapper


class Conjugate(AbstractWrapper):
    """The Fenchel conjugate of a penalty as a penalty, `g*(u) = sup_x <u, x> - g(x)`.

    Its prox follows from that of g by Moreau's identity, and needs a positive step; its value needs `g.conjugate`. The
    conjugate of the conjugate is g, whose domain no scaling need reach: `dual_scale` is 1. Raises `ValueError` for a
    penalty that is not convex.

    Moreau, "Proximité et dualité dans un espace hilbertien", 1965.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Conjugate(penalties.L1(1.0)).prox(jnp.array([3.0, -0.5]), step=2.0).tolist()
        [1.0, -0.5]
    """

    is_indicator: ClassVar[bool] = False

    def __init__(self, penalty: AbstractPenalty):
        if not penalty.is_convex:
            name = type(penalty).__name__
            raise ValueError(f"penalty must be convex: the conjugate of {name} forgets it; pass a convex penalty.")
        self.penalty = penalty

    def value(self, x: Params) -> Scalar:
        return self.penalty.conjugate(x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return self.penalty.conjugate_prox(x, step)

    def conjugate(self, dual: Params) -> Scalar:
        return self.penalty.value(dual)

    def conjugate_prox(self, dual: Params, step: ArrayLike) -> Params:
        return self.penalty.prox(dual, step)
