from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from ..penalties import AbstractPenalty, NonNegative, Simplex, SpectralFunction
from ..penalties._spectral import eigen, symmetric_part
from ._base import AbstractMirrorMap
from ._matrix_functions import dual_relative_entropy, exp_symmetric, log_symmetric, relative_entropy
from ._slices import keep_unit


class VonNeumannEntropy(AbstractMirrorMap):
    """Von Neumann entropy `tr(x log x - x)` of a positive semidefinite matrix: matrix exponentiated gradient.

    The dual is the logarithm. With `unit_trace=True` the domain is that of density matrices, h is `tr(x log x)`,
    and the dual is known up to a multiple of the identity. The modulus in the trace norm is 1 for unit trace (Pinsker)
    and 1 / radius otherwise. First derivatives are exact at repeated eigenvalues too; second ones need distinct
    eigenvalues. Matrices are taken by their symmetric part. The composite step is closed for the indicators
    `SpectralFunction(Simplex(), symmetric=True)` and `SpectralFunction(NonNegative(), symmetric=True)`. Raises
    `ValueError` where a point is no square matrix.

    Tsuda, Raetsch and Warmuth, "Matrix exponentiated gradient updates for on-line learning and Bregman
    projection", 2005.

    Args:
        unit_trace: whether the points have trace one.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> states = mirror.VonNeumannEntropy(unit_trace=True)
        >>> states.from_dual(jnp.diag(jnp.array([jnp.log(3.0), 0.0]))).round(4).tolist()
        [[0.75, 0.0], [0.0, 0.25]]
    """

    unit_trace: bool = eqx.field(static=True, default=False)
    domain: ClassVar[str] = "positive semidefinite matrices, of unit trace if asked"

    def potential(self, x: Float[Array, "n n"]) -> Scalar:
        w = jnp.maximum(eigen(symmetric_part(x))[0], 0)
        return jnp.sum(xlogy(w, w)) - (0 if self.unit_trace else jnp.sum(w))

    def to_dual(self, x: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return log_symmetric(symmetric_part(x))

    def from_dual(self, dual: Float[Array, "n n"]) -> Float[Array, "n n"]:
        dual = symmetric_part(dual)
        if not self.unit_trace:
            return exp_symmetric(dual)
        top = jax.lax.stop_gradient(eigen(dual)[0][-1])
        raised = exp_symmetric(dual - top * jnp.eye(dual.shape[0], dtype=dual.dtype))
        return raised / jnp.trace(raised)

    def conjugate(self, dual: Float[Array, "n n"]) -> Scalar:
        w = eigen(symmetric_part(dual))[0]
        return jax.nn.logsumexp(w) if self.unit_trace else jnp.sum(jnp.exp(w))

    def divergence(self, x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Scalar:
        """Quantum relative entropy `tr(x (log x - log y) - x + y)`."""
        return relative_entropy(symmetric_part(x), symmetric_part(y))

    def dual_divergence(self, dual_x: Float[Array, "n n"], dual_y: Float[Array, "n n"]) -> Scalar:
        return dual_relative_entropy(self.center_dual(dual_x), self.center_dual(dual_y))

    def project(self, y: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return y / jnp.trace(y) if self.unit_trace else y

    def center_dual(self, dual: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """The symmetric part of the dual; for unit trace, that which is the logarithm of the point."""
        dual = symmetric_part(dual)
        if not self.unit_trace:
            return dual
        return dual - self.conjugate(dual) * jnp.eye(dual.shape[0], dtype=dual.dtype)

    def _prox_dual(self, dual: Float[Array, "n n"], penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        if not (isinstance(penalty, SpectralFunction) and penalty.symmetric):
            return None
        if isinstance(penalty.penalty, NonNegative):
            return dual
        if not isinstance(penalty.penalty, Simplex):
            return None
        if self.unit_trace:
            return keep_unit(dual, penalty.penalty)
        dual = symmetric_part(dual)
        excess = jax.nn.logsumexp(eigen(dual)[0]) - jnp.log(penalty.penalty.radius.astype(dual.dtype))
        return dual - excess * jnp.eye(dual.shape[0], dtype=dual.dtype)

    def norm(self, x: Float[Array, "n n"]) -> Scalar:
        """The trace norm."""
        return jnp.sum(jnp.abs(eigen(symmetric_part(x))[0]))

    def dual_norm(self, gradient: Float[Array, "n n"]) -> Scalar:
        """The spectral norm."""
        return jnp.max(jnp.abs(eigen(symmetric_part(gradient))[0]))

    def modulus(self, like: Float[Array, "n n"], radius: ArrayLike = jnp.inf) -> Scalar:
        one = jnp.ones((), _tree.dtype_of(like))
        return one if self.unit_trace else one / jnp.asarray(radius).astype(one.dtype)

    def contains(self, x: Float[Array, "n n"]) -> BoolScalar:
        w = eigen(symmetric_part(x))[0]
        definite = w[0] > 4 * float(jnp.finfo(w.dtype).eps) * jnp.abs(w[-1])
        room = 64 * max(w.size, 16) * float(jnp.finfo(w.dtype).eps)
        return definite & (jnp.abs(jnp.sum(w) - 1) <= room) if self.unit_trace else definite
