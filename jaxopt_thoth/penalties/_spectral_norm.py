import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ..projections import l1_ball, simplex
from ._base import AbstractPenalty
from ._parts import at_most, indicator, shrink_ratio
from ._spectral import eigen, product, shrink_singular_values, thin_svd


class SpectralNorm(AbstractPenalty):
    """Largest singular value of a matrix times the strength.

    The prox clips singular values at a common level, with derivatives that stay finite where these repeat or vanish.
    Raises `ValueError` for a known negative strength.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.7.3.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.SpectralNorm(1.0).prox(jnp.diag(jnp.array([3.0, 0.5])), step=1.0).round(4).tolist()
        [[2.0, 0.0], [0.0, 0.5]]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Float[Array, "m n"]) -> Scalar:
        peak = jnp.max(thin_svd(x)[1], initial=0)
        return _tree.match(self.strength, peak) * peak

    def prox(self, x: Float[Array, "m n"], step: ArrayLike) -> Float[Array, "m n"]:
        s = thin_svd(x)[1]
        removed = l1_ball(s, _tree.match(self.strength, s) * _tree.match(step, s))
        level = jnp.max(s, initial=0) - jnp.max(removed, initial=0)
        # At level zero the difference would leave rounding instead of zeros.
        return jnp.where(level > 0, x - shrink_singular_values(x, level), 0)

    def conjugate(self, dual: Float[Array, "m n"]) -> Scalar:
        return indicator(at_most(jnp.sum(thin_svd(dual)[1]), self.strength), dual)

    def dual_scale(self, dual: Float[Array, "m n"]) -> Scalar:
        return shrink_ratio(self.strength, jnp.sum(thin_svd(dual)[1]))

    def minimal_subgradient(self, x: Float[Array, "m n"], gradient: Float[Array, "m n"]) -> Float[Array, "m n"]:
        u, s, v = thin_svd(x)
        strength = _tree.match(self.strength, s)
        peak = jnp.max(s, initial=0)
        # The largest singular values tie up to rounding only.
        top = s >= peak * (1 - 16 * float(jnp.finfo(s.dtype).eps) * max(x.shape))
        both = top[:, None] & top[None, :]
        pull = -product(u.T, gradient, v)
        # Eigenvalues that stand for the other singular values are too low to take part.
        low = -2 * (_tree.norm(pull) + strength)
        values, vectors = eigen(jnp.where(both, (pull + pull.T) / 2, 0) + jnp.diag(jnp.where(top, 0, low)))
        shares = product(vectors * simplex(values, strength)[None, :], vectors.T)
        on_face = gradient + product(u, jnp.where(both, shares, 0), v.T)
        return jnp.where(peak > 0, on_face, self.prox(gradient, 1.0))

    def support(self, x: Float[Array, "m n"]) -> Array:
        return jnp.broadcast_to(jnp.any(x != 0), x.shape)

    def critical_strength(self, gradient_at_zero: Float[Array, "m n"]) -> Scalar:
        return jnp.sum(thin_svd(gradient_at_zero)[1])
