from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import concrete
from ._entrywise import AbstractEntrywiseMap
from ._stable import kl, kl_of_logs


class FermiDirac(AbstractEntrywiseMap):
    """Fermi-Dirac entropy of a box, on any pytree: the mirror step moves logits.

    With `u = (x - lower) / w` and `w = upper - lower`, h is `sum w (u log u + (1 - u) log(1 - u))`, whose gradient is
    the logit of u, and whose modulus is `4 / max w` in the Euclidean norm. The bounds are scalars or arrays that
    broadcast to the shape of each leaf. The composite step is closed for `L1`, `NonNegative` and `Box`. Raises
    `ValueError` where known bounds are not finite, or leave an empty interior.

    Bauschke and Borwein, "Legendre functions and the method of random Bregman projections", 1997.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> box = mirror.FermiDirac(0.0, 4.0)
        >>> box.step(jnp.array([2.0, 2.0]), jnp.array([0.0, -jnp.log(3.0)]), 1.0).round(4).tolist()
        [2.0, 3.0]
    """

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    domain: ClassVar[str] = "box [lower, upper]"

    def __init__(self, lower: ArrayLike = 0.0, upper: ArrayLike = 1.0):
        low, high = concrete(lower), concrete(upper)
        if low is not None and high is not None:
            width = high - low
            if not ((width > 0) & (abs(width) < float("inf"))).all():
                raise ValueError(
                    f"lower must be below upper and both finite, got {low} and {high}; for a half line take "
                    "UnnormalizedEntropy() of x - lower."
                )
        self.lower = _tree.setting(lower)
        self.upper = _tree.setting(upper)

    def _bounds(self, like: Array) -> tuple[Array, Array]:
        lower, upper = _tree.match(self.lower, like), _tree.match(self.upper, like)
        return lower, upper - lower

    def _parts(self, x: Array) -> tuple[Array, Array, Array]:
        """The width, and the shares of it below and above x, neither as one minus the other."""
        lower, width = self._bounds(x)
        return width, (x - lower) / width, (_tree.match(self.upper, x) - x) / width

    def _potential(self, x: Array) -> Array:
        width, u, v = self._parts(x)
        return width * (xlogy(u, u) + xlogy(v, v))

    def _to_dual(self, x: Array) -> Array:
        _, u, v = self._parts(x)
        return jnp.log(u) - jnp.log(v)

    def _from_dual(self, dual: Array) -> Array:
        lower, width = self._bounds(dual)
        # From the nearer end, so that a point close to it keeps its distance.
        low, high = lower + width * jax.nn.sigmoid(dual), lower + width - width * jax.nn.sigmoid(-dual)
        return jnp.where(dual < 0, low, high)

    def _conjugate(self, dual: Array) -> Array:
        lower, width = self._bounds(dual)
        return lower * dual + width * jax.nn.softplus(dual)

    def _divergence(self, x: Array, y: Array) -> Array:
        width, u, v = self._parts(x)
        _, u_y, v_y = self._parts(y)
        return width * (kl(u, u_y) + kl(v, v_y))

    def _dual_divergence(self, dual_x: Array, dual_y: Array) -> Array:
        _, width = self._bounds(dual_x)
        below = kl_of_logs(jax.nn.log_sigmoid(dual_x), jax.nn.log_sigmoid(dual_y))
        return width * (below + kl_of_logs(jax.nn.log_sigmoid(-dual_x), jax.nn.log_sigmoid(-dual_y)))

    def _contains(self, x: Array) -> Array:
        return (x > _tree.match(self.lower, x)) & (x < _tree.match(self.upper, x))

    def _reach(self, value: Array) -> Array:
        inside = self._contains(value)
        lower, width = self._bounds(value)
        safe = jnp.where(inside, value, lower + width / 2)
        beyond = jnp.where(value <= lower, -jnp.inf, jnp.inf)
        return jnp.where(inside, self._to_dual(safe), beyond)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return (4 / jnp.max(self.upper - self.lower)).astype(_tree.dtype_of(like))
