from typing import ClassVar

import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from ..penalties import AbstractPenalty, NonNegative, SpectralFunction
from ..penalties._spectral import eigen, symmetric_part
from ._base import AbstractMirrorMap
from ._stable import less_log1p


class LogDet(AbstractMirrorMap):
    """Barrier `-log det x` of the positive definite matrices; its divergence is Stein's loss.

    Duals are negative definite; `from_dual` is NaN where a dual is not, as there is no minimizer then. There is no
    least potential, and `center` is the identity. `modulus` is 1 / radius^2 in the Frobenius norm. Matrices are
    taken by their symmetric part. The composite step is closed for the indicator of the semidefinite matrices,
    `SpectralFunction(NonNegative(), symmetric=True)`. Raises `ValueError` where a point is no square matrix.

    Kulis, Sustik and Dhillon, "Low-rank kernel learning with Bregman matrix divergences", 2009.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.LogDet().step(jnp.eye(2), jnp.diag(jnp.array([1.0, -0.5])), 1.0).round(4).tolist()
        [[0.5, 0.0], [0.0, 2.0]]
    """

    domain: ClassVar[str] = "positive definite matrices"

    def potential(self, x: Float[Array, "n n"]) -> Scalar:
        return -_log_det(symmetric_part(x))

    def to_dual(self, x: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return -_inverse(symmetric_part(x))

    def from_dual(self, dual: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return _inverse(-symmetric_part(dual))

    def conjugate(self, dual: Float[Array, "n n"]) -> Scalar:
        return -dual.shape[0] - _log_det(-symmetric_part(dual))

    def divergence(self, x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Scalar:
        """Stein's loss `tr(x y^-1) - log det(x y^-1) - n`."""
        return _stein(symmetric_part(x) - symmetric_part(y), symmetric_part(y))

    def dual_divergence(self, dual_x: Float[Array, "n n"], dual_y: Float[Array, "n n"]) -> Scalar:
        return _stein(symmetric_part(dual_x) - symmetric_part(dual_y), -symmetric_part(dual_x))

    def _prox_dual(self, dual: Float[Array, "n n"], penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        if isinstance(penalty, SpectralFunction) and penalty.symmetric and isinstance(penalty.penalty, NonNegative):
            return dual
        return None

    def center(self, like: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """The identity; the potential has no least value."""
        return jnp.eye(like.shape[0], dtype=_tree.dtype_of(like))

    def modulus(self, like: Float[Array, "n n"], radius: ArrayLike = jnp.inf) -> Scalar:
        return 1 / jnp.asarray(radius).astype(_tree.dtype_of(like)) ** 2

    def contains(self, x: Float[Array, "n n"]) -> BoolScalar:
        w = eigen(symmetric_part(x))[0]
        return w[0] > 4 * float(jnp.finfo(w.dtype).eps) * jnp.abs(w[-1])


def _inverse(x: Array) -> Array:
    """Inverse by the Cholesky factor, which is NaN unless x is positive definite."""
    inverse = jsl.cho_solve((jnp.linalg.cholesky(x), True), jnp.eye(x.shape[0], dtype=x.dtype))
    return symmetric_part(inverse)


def _log_det(x: Array) -> Scalar:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(x))))


def _stein(gap: Array, y: Array) -> Scalar:
    """Stein's loss of `y + gap` from y: of y^-1/2 gap y^-1/2 the eigenvalues are what no subtraction has rounded."""
    lower = jnp.linalg.cholesky(y)
    half = jsl.solve_triangular(lower, gap, lower=True)
    inner = jsl.solve_triangular(lower, half.T, lower=True)
    return jnp.sum(less_log1p(eigen(symmetric_part(inner))[0]))
