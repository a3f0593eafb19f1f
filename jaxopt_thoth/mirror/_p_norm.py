from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from ..penalties import AbstractPenalty
from ._base import AbstractMirrorMap, odd_prox
from ._power import require_above_one
from ._stable import power, signed_power_divergence


class PNorm(AbstractMirrorMap):
    """Half the squared l_q norm of one array, `|x|_q^2 / 2` for q > 1: the p-norm algorithms, with `1/p + 1/q = 1`.

    The modulus is `q - 1` in the l_q norm for q <= 2, else none; with `q = 1 + 1 / log n` it is nearly that of
    entropy, on the whole space. The composite step is closed for `L1` and `NonNegative`. Raises
    `ValueError` for a known `q <= 1`.

    Grove, Littlestone and Schuurmans, "General convergence results for linear discriminant updates", 2001.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.PNorm(1.5).from_dual(jnp.array([2.0, -1.0])).round(4).tolist()
        [1.923, -0.4807]
    """

    q: Scalar
    domain: ClassVar[str] = "all vectors"

    def __init__(self, q: ArrayLike):
        require_above_one(q)
        self.q = _tree.setting(q)

    def _exponents(self, x: Array) -> tuple[Array, Array]:
        q = self.q.astype(x.dtype)
        return q, q / (q - 1)

    def potential(self, x: Float[Array, "..."]) -> Scalar:
        return _norm(x, self._exponents(x)[0]) ** 2 / 2

    def to_dual(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return _gradient(x, self._exponents(x)[0])

    def from_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        return _gradient(dual, self._exponents(dual)[1])

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        return _norm(dual, self._exponents(dual)[1]) ** 2 / 2

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        q = self._exponents(x)[0]
        size_x, size_y = _norm(x, q), _norm(y, q)
        # Of unit vectors Hoelder's gap is a sum of nonnegative terms, Young's gaps.
        gap = jnp.sum(signed_power_divergence(_over(x, size_x), _over(y, size_y), q))
        both = (size_x > 0) & (size_y > 0)
        return (size_x - size_y) ** 2 / 2 + size_x * size_y * jnp.where(both, gap, 0)

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
        return odd_prox(dual, penalty, step)

    def norm(self, x: Float[Array, "..."]) -> Scalar:
        """The l_q norm."""
        return _norm(x, self._exponents(x)[0])

    def dual_norm(self, gradient: Float[Array, "..."]) -> Scalar:
        """The l_p norm."""
        return _norm(gradient, self._exponents(gradient)[1])

    def modulus(self, like: Float[Array, "..."], radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.where(self.q <= 2, self.q - 1, 0).astype(_tree.dtype_of(like))


def _over(x: Array, size: Scalar) -> Array:
    return x / jnp.where(size > 0, size, 1)


def _norm(x: Array, order: Scalar) -> Scalar:
    """The norm in units of the largest entry, which a constant factor leaves out of the derivative."""
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(x), initial=0))
    total = jnp.sum(power(_over(x, peak), order))
    alive = peak > 0
    return jnp.where(alive, peak * jnp.where(alive, total, 1) ** (1 / order), 0)


def _gradient(x: Array, order: Scalar) -> Array:
    size = _norm(x, order)
    return size * jnp.sign(x) * power(_over(x, size), order - 1)
