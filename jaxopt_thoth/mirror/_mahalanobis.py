from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete, require_positive
from ..penalties import AbstractPenalty, NonNegative
from ..penalties._entrywise import AbstractEntrywise
from ._base import AbstractMirrorMap


class Mahalanobis(AbstractMirrorMap):
    """Half the squared norm in a metric, `x^T M x / 2`: the mirror step is a preconditioned gradient step.

    Its modulus is 1 in the norm of the metric. With a diagonal metric the composite step is closed for every entrywise
    penalty. Raises `ValueError` where a known metric is not positive definite or not square.

    Args:
        metric: a positive definite matrix (n, n) for points (n,) or columns (n, k), which is factored once, here;
            or with `diagonal=True` positive weights, a scalar or an array that broadcasts to the points.
        diagonal: whether the metric is diagonal.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> metric = mirror.Mahalanobis(jnp.diag(jnp.array([1.0, 4.0])))
        >>> metric.step(jnp.zeros(2), jnp.array([-1.0, -1.0]), 1.0).round(4).tolist()
        [1.0, 0.25]
    """

    # Of a matrix its Cholesky factor, the only leaf: what is differentiated is what is used.
    factor: Float[Array, "..."]
    diagonal: bool = eqx.field(static=True)
    domain: ClassVar[str] = "all vectors"

    def __init__(self, metric: ArrayLike, diagonal: bool = False):
        self.diagonal = diagonal
        array = _tree.setting(metric)
        if diagonal:
            require_positive(metric, "metric")
            self.factor = array
            return
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ValueError(f"metric must be a square matrix, got shape {array.shape}; for weights set diagonal=True.")
        self.factor = jnp.linalg.cholesky(array)
        known = concrete(self.factor)
        if known is not None and not np.all(np.isfinite(known)):
            raise ValueError("metric must be positive definite; add a multiple of the identity to it.")

    def to_dual(self, x: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
        if self.diagonal:
            return _tree.match(self.factor, x) * x
        lower = self.factor.astype(x.dtype)
        return _multiply(lower, _multiply(lower.T, x))

    def from_dual(self, dual: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
        if self.diagonal:
            return dual / _tree.match(self.factor, dual)
        return jsl.cho_solve((self.factor.astype(dual.dtype), True), dual)

    def _square(self, x: Array) -> Scalar:
        if self.diagonal:
            return jnp.sum(_tree.match(self.factor, x) * x * x)
        return _tree.squared_norm(_multiply(self.factor.astype(x.dtype).T, x))

    def _dual_square(self, dual: Array) -> Scalar:
        if self.diagonal:
            return jnp.sum(dual * dual / _tree.match(self.factor, dual))
        return _tree.squared_norm(jsl.solve_triangular(self.factor.astype(dual.dtype), dual, lower=True))

    def potential(self, x: Float[Array, "n *k"]) -> Scalar:
        return self._square(x) / 2

    def conjugate(self, dual: Float[Array, "n *k"]) -> Scalar:
        return self._dual_square(dual) / 2

    def divergence(self, x: Float[Array, "n *k"], y: Float[Array, "n *k"]) -> Scalar:
        return self._square(x - y) / 2

    def _prox_dual(self, dual: Float[Array, "n *k"], penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        if not self.diagonal or not isinstance(penalty, AbstractEntrywise | NonNegative):
            return None
        weights = _tree.match(self.factor, dual)
        return weights * penalty.prox(dual / weights, _tree.match(step, dual) / weights)

    def norm(self, x: Float[Array, "n *k"]) -> Scalar:
        """The norm of the metric."""
        return _tree.safe_sqrt(self._square(x))

    def dual_norm(self, gradient: Float[Array, "n *k"]) -> Scalar:
        """The norm of the inverse of the metric."""
        return _tree.safe_sqrt(self._dual_square(gradient))

    def modulus(self, like: Float[Array, "n *k"], radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.ones((), _tree.dtype_of(like))


def _multiply(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
