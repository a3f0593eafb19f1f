from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..penalties import AbstractPenalty, L2Squared
from ._entrywise import AbstractEntrywiseMap
from ._stable import less_log1p


class BurgEntropy(AbstractEntrywiseMap):
    """Logarithmic barrier `-sum log x` of positive entries, on any pytree; its divergence is that of Itakura and Saito.

    Duals are negative. A step of length s from x along g has a minimizer only while `1 / x + s g` is positive; where it
    is not, `from_dual` is infinite. There is no least potential, and `center` is the vector of ones. `modulus` is
    1 / radius^2 in the Euclidean norm. The composite step is closed for `L1`, `NonNegative`, `Box` and `L2Squared`.

    Bauschke, Bolte and Teboulle, "A descent lemma beyond Lipschitz gradient continuity: first-order methods
    revisited and applications", 2017.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.BurgEntropy().step(jnp.array([1.0, 0.5]), jnp.array([1.0, -1.0]), 1.0).tolist()
        [0.5, 1.0]
    """

    domain: ClassVar[str] = "positive orthant"

    def _potential(self, x: Array) -> Array:
        return -jnp.log(x)

    def _to_dual(self, x: Array) -> Array:
        return -1 / x

    def _from_dual(self, dual: Array) -> Array:
        inside = dual < 0
        return jnp.where(inside, -1 / jnp.where(inside, dual, -1), jnp.where(jnp.isnan(dual), dual, jnp.inf))

    def _conjugate(self, dual: Array) -> Array:
        inside = dual < 0
        return jnp.where(inside, -1 - jnp.log(jnp.where(inside, -dual, 1)), jnp.inf)

    def _divergence(self, x: Array, y: Array) -> Array:
        return less_log1p((x - y) / y)

    def _dual_divergence(self, dual_x: Array, dual_y: Array) -> Array:
        return less_log1p((dual_y - dual_x) / dual_x)

    def _contains(self, x: Array) -> Array:
        return (x > 0) & jnp.isfinite(x)

    def _reach(self, value: Array) -> Array:
        positive = value > 0
        return jnp.where(positive, -1 / jnp.where(positive, value, 1), -jnp.inf)

    def _entry_prox(self, dual: Array, penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        if not isinstance(penalty, L2Squared):
            return None
        s = _tree.match(penalty.strength, dual) * _tree.match(step, dual)
        reach = _tree.safe_sqrt(dual**2 + 4 * s)
        # Two forms of the negative root of u^2 - dual u - s = 0, each free of cancellation on its side.
        above = dual > 0
        return jnp.where(above, -2 * s / jnp.where(above, dual + reach, 1), (dual - reach) / 2)

    def center(self, like: Params) -> Params:
        """The vector of ones; the potential has no least value."""
        return jax.tree.map(jnp.ones_like, _tree.as_inexact(like))

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return 1 / jnp.asarray(radius).astype(_tree.dtype_of(like)) ** 2
