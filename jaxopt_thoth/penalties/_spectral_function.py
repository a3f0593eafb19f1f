from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from ._base import AbstractPenalty
from ._parts import slack
from ._spectral import eigen, map_eigenvalues, map_singular_values, product, symmetric_part, thin_svd
from ._wrapper import AbstractWrapper


class SpectralFunction(AbstractWrapper):
    """A penalty of the singular values of a matrix, `g(s(x))`, or of the eigenvalues of a symmetric one.

    The vector penalty `g` must forget the order of its entries, and for singular values also their signs (as norms do);
    this is not checked. With `symmetric=True` the matrices are square, the value is infinite off the symmetric ones,
    and the prox takes the symmetric part. The first derivative of the prox goes by divided differences, finite and
    exact at repeated values too; it costs one prox of `g` a value. Raises `ValueError` where `x` is no matrix.

    Lewis, "The convex analysis of unitarily invariant matrix functions", 1995, and "Convex analysis on the Hermitian
    matrices", 1996.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> states = penalties.SpectralFunction(penalties.Simplex(), symmetric=True)
        >>> states.prox(jnp.diag(jnp.array([1.5, 0.25])), step=1.0).round(4).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """

    symmetric: bool = eqx.field(static=True)

    is_separable: ClassVar[bool] = False

    def __init__(self, penalty: AbstractPenalty, symmetric: bool = False):
        self.penalty = penalty
        self.symmetric = symmetric

    def _values(self, x: Float[Array, "m n"]) -> Float[Array, " r"]:
        if self.symmetric:
            return eigen(symmetric_part(x))[0]
        if x.ndim != 2:
            raise ValueError(f"x must be a matrix, got shape {x.shape}; vmap over its leading axes.")
        return thin_svd(x)[1]

    def value(self, x: Float[Array, "m n"]) -> Scalar:
        value = self.penalty.value(self._values(x))
        if not self.symmetric:
            return value
        skew = jnp.max(jnp.abs(x - x.T), initial=0)
        return jnp.where(skew <= slack(x, jnp.max(jnp.abs(x), initial=0)), value, jnp.inf)

    def prox(self, x: Float[Array, "m n"], step: ArrayLike) -> Float[Array, "m n"]:
        if self.symmetric:
            return map_eigenvalues(symmetric_part(x), self.penalty, _tree.match(step, x))
        if x.ndim != 2:
            raise ValueError(f"x must be a matrix, got shape {x.shape}; vmap over its leading axes.")
        return map_singular_values(x, self.penalty, _tree.match(step, x))

    def conjugate(self, dual: Float[Array, "m n"]) -> Scalar:
        return self.penalty.conjugate(self._values(dual))

    def dual_scale(self, dual: Float[Array, "m n"]) -> Scalar:
        return self.penalty.dual_scale(self._values(dual))

    def linear_minimizer(self, gradient: Float[Array, "m n"]) -> Float[Array, "m n"]:
        if self.symmetric:
            w, v = eigen(symmetric_part(gradient))
            return product(v * self.penalty.linear_minimizer(w)[None, :], v.T)
        if gradient.ndim != 2:
            raise ValueError(f"gradient must be a matrix, got shape {gradient.shape}; vmap over its leading axes.")
        u, s, v = thin_svd(gradient)
        return product(u * self.penalty.linear_minimizer(s)[None, :], v.T)

    def critical_strength(self, gradient_at_zero: Float[Array, "m n"]) -> Scalar:
        return self.penalty.critical_strength(self._values(gradient_at_zero))
