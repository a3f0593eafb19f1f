from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ._base import max_norm, one_norm
from ._entrywise import AbstractEntrywiseMap
from ._stable import kl_term


class Hypentropy(AbstractEntrywiseMap):
    """Hyperbolic entropy `sum x asinh(x / beta) - sqrt(x^2 + beta^2)`: between additive and multiplicative steps.

    A large beta with step `beta * s` is gradient descent of step s, a small one exponentiated gradient of positive and
    negative parts. `modulus` is `1 / (radius + beta n)` in the l1 norm. The composite step is closed for `L1`,
    `NonNegative` and `Box`. Raises `ValueError` for a known `beta <= 0`.

    Ghai, Hazan and Singer, "Exponentiated gradient meets gradient descent", 2020.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.Hypentropy(1.0).step(jnp.array([0.0]), jnp.array([-jnp.log(2.0)]), 1.0).tolist()
        [0.75]
    """

    beta: Scalar
    domain: ClassVar[str] = "all vectors"

    def __init__(self, beta: ArrayLike = 1.0):
        require_positive(beta, "beta")
        self.beta = _tree.setting(beta)

    def _potential(self, x: Array) -> Array:
        b = _tree.match(self.beta, x)
        return x * jnp.arcsinh(x / b) - jnp.hypot(x, jnp.broadcast_to(b, x.shape))

    def _to_dual(self, x: Array) -> Array:
        return jnp.arcsinh(x / _tree.match(self.beta, x))

    def _from_dual(self, dual: Array) -> Array:
        b = _tree.match(self.beta, dual)
        far = jnp.abs(dual) > 50
        # A small beta brings back into range what the hyperbolic sine alone would not.
        large = jnp.sign(dual) * jnp.exp(jnp.where(far, jnp.abs(dual), 0) + jnp.log(b / 2))
        return jnp.where(far, large, b * jnp.sinh(jnp.where(far, 0, dual)))

    def _conjugate(self, dual: Array) -> Array:
        b = _tree.match(self.beta, dual)
        far = jnp.abs(dual) > 50
        large = jnp.exp(jnp.where(far, jnp.abs(dual), 0) + jnp.log(b / 2))
        return jnp.where(far, large, b * jnp.cosh(jnp.where(far, 0, dual)))

    def _divergence(self, x: Array, y: Array) -> Array:
        b = _tree.match(self.beta, x)
        u, v = x / b, y / b
        # Of like signs the difference of the duals is the asinh of a quotient in which nothing cancels.
        like = u * v > 0
        root_u, root_v = jnp.sqrt(1 + u * u), jnp.sqrt(1 + v * v)
        below = jnp.where(like, u * root_v + v * root_u, 1)
        near = jnp.arcsinh((u - v) * ((u + v) / below))
        return _between(b, jnp.arcsinh(v), jnp.where(like, near, jnp.arcsinh(u) - jnp.arcsinh(v)))

    def _dual_divergence(self, dual_x: Array, dual_y: Array) -> Array:
        return _between(_tree.match(self.beta, dual_x), dual_y, dual_x - dual_y)

    def norm(self, x: Params) -> Scalar:
        """The l1 norm."""
        return one_norm(x)

    def dual_norm(self, gradient: Params) -> Scalar:
        """The largest absolute entry."""
        return max_norm(gradient)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        dtype = _tree.dtype_of(like)
        size = sum(leaf.size for leaf in jax.tree.leaves(like))
        return 1 / (jnp.asarray(radius).astype(dtype) + self.beta.astype(dtype) * size)


def _between(b: Array, dual: Array, gap: Array) -> Array:
    """Divergence of the dual `dual + gap` from `dual`: of entropy, summed over the positive and the negative part."""
    positive = jnp.exp(dual) * kl_term(jnp.expm1(gap))
    return b / 2 * (positive + jnp.exp(-dual) * kl_term(jnp.expm1(-gap)))
