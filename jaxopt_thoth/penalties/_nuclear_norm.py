import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import at_most, indicator, shrink_ratio
from ._spectral import product, shrink_singular_values, thin_svd


class NuclearNorm(AbstractPenalty):
    """Sum of the singular values of a matrix times the strength: the convex stand-in for the rank.

    The prox soft-thresholds singular values, with derivatives that stay finite where these repeat or vanish. Raises
    `ValueError` for a known negative strength.

    Cai, Candes and Shen, "A singular value thresholding algorithm for matrix completion", 2010.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.NuclearNorm(1.0).prox(jnp.diag(jnp.array([3.0, 0.5])), step=1.0).round(4).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, "m n"]) -> Scalar:
        total = jnp.sum(thin_svd(x)[1])
        return _tree.match(self.strength, total) * total

    def prox(self, x: Float[Array, "m n"], step: ArrayLike) -> Float[Array, "m n"]:
        return shrink_singular_values(x, _tree.match(self.strength, x) * _tree.match(step, x))

    def conjugate(self, dual: Float[Array, "m n"]) -> Scalar:
        return indicator(at_most(spectral_norm(dual), self.strength), dual)

    def dual_scale(self, dual: Float[Array, "m n"]) -> Scalar:
        return shrink_ratio(self.strength, spectral_norm(dual))

    def minimal_subgradient(self, x: Float[Array, "m n"], gradient: Float[Array, "m n"]) -> Float[Array, "m n"]:
        u, s, v = thin_svd(x)
        strength = _tree.match(self.strength, x)
        # The rank counts what is above the rounding of the largest singular value.
        alive = s > 16 * float(jnp.finfo(x.dtype).eps) * max(x.shape) * jnp.max(s, initial=0)
        u, v = jnp.where(alive[None, :], u, 0), jnp.where(alive[None, :], v, 0)
        below = gradient - product(u, u.T, gradient)
        corner = below - product(below, v, v.T)
        held = corner - shrink_singular_values(corner, strength)
        return gradient + strength * product(u, v.T) - held

    def support(self, x: Float[Array, "m n"]) -> Array:
        return jnp.broadcast_to(jnp.any(x != 0), x.shape)

    def critical_strength(self, gradient_at_zero: Float[Array, "m n"]) -> Scalar:
        return spectral_norm(gradient_at_zero)


def spectral_norm(x: Float[Array, "m n"]) -> Scalar:
    """Largest singular value."""
    return jnp.max(thin_svd(x)[1], initial=0)
