from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._l0 import L0
from ._spectral import map_singular_values, thin_svd


class Rank(AbstractPenalty):
    """Rank of a matrix times the strength.

    Not convex: the prox keeps the singular values above `sqrt(2 * strength * step)`. The value counts the singular
    values above the rounding of the largest. Raises `ValueError` for a known negative strength.

    Lewis and Malick, "Alternating projections on manifolds", 2008, section 4; Hiriart-Urruty and Le, "From
    Eckart and Young approximation to Moreau envelopes and vice versa", 2013.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Rank(2.0).prox(jnp.diag(jnp.array([1.75, 2.5])), step=1.0).round(4).tolist()
        [[0.0, 0.0], [0.0, 2.5]]
    """

    strength: Scalar

    is_convex: ClassVar[bool] = False

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, "m n"]) -> Scalar:
        s = thin_svd(x)[1]
        above = s > 16 * float(jnp.finfo(s.dtype).eps) * max(x.shape) * jnp.max(s, initial=0)
        return _tree.match(self.strength, s) * jnp.sum(above).astype(s.dtype)

    def prox(self, x: Float[Array, "m n"], step: ArrayLike) -> Float[Array, "m n"]:
        return map_singular_values(x, L0(self.strength), _tree.match(step, x))

    def support(self, x: Float[Array, "m n"]) -> Array:
        return jnp.broadcast_to(jnp.any(x != 0), x.shape)
