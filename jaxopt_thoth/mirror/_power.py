from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import known_leaves
from ._entrywise import AbstractEntrywiseMap
from ._stable import power, signed_power_divergence


class Power(AbstractEntrywiseMap):
    """Sum of powers `sum |x|^q / q` for q > 1, on any pytree; strongly convex on no set that holds zero, but for q = 2.

    The composite step is closed for `L1`, `NonNegative` and `Box`. Raises `ValueError` for a known `q <= 1`.

    Bauschke and Borwein, "Legendre functions and the method of random Bregman projections", 1997.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.Power(4.0).step(jnp.array([1.0, 0.0]), jnp.array([-7.0, 1.0]), 1.0).round(4).tolist()
        [2.0, -1.0]
    """

    q: Scalar
    domain: ClassVar[str] = "all vectors"

    def __init__(self, q: ArrayLike):
        require_above_one(q)
        self.q = _tree.setting(q)

    def _potential(self, x: Array) -> Array:
        q = _tree.match(self.q, x)
        return power(x, q) / q

    def _to_dual(self, x: Array) -> Array:
        return jnp.sign(x) * power(x, _tree.match(self.q, x) - 1)

    def _from_dual(self, dual: Array) -> Array:
        return jnp.sign(dual) * power(dual, 1 / (_tree.match(self.q, dual) - 1))

    def _conjugate(self, dual: Array) -> Array:
        q = _tree.match(self.q, dual)
        p = q / (q - 1)
        return power(dual, p) / p

    def _divergence(self, x: Array, y: Array) -> Array:
        return signed_power_divergence(x, y, _tree.match(self.q, x))


def require_above_one(q: ArrayLike) -> None:
    """Raise `ValueError` unless every known entry of q is above one."""
    for known in known_leaves(q):
        if not (known > 1).all():
            raise ValueError(
                f"q must be above 1, got {known}; near 1 it is UnnormalizedEntropy() or Hypentropy(beta) to take."
            )
