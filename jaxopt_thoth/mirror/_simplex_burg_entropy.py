from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from ..penalties import AbstractPenalty
from ._base import AbstractMirrorMap
from ._slices import largest_of_slices, one_norm_of_slices, simplex_prox, simplex_slices, sums_to_one
from ._stable import less_log1p


class SimplexBurgEntropy(AbstractMirrorMap):
    """Logarithmic barrier `-sum log x` on the unit simplex, the geometry of D-optimal designs and portfolios.

    The dual `-1 / x` is known up to a constant along a slice; `from_dual` takes any, and finds the constant by Newton's
    method inside a bracket, with implicit derivatives. The modulus is 1 in the l1 norm (of several slices: in the
    Euclidean norm of their l1 norms). The composite step is closed for `Simplex`, `L1` and `NonNegative`.

    Hanzely, Richtarik and Xiao, "Accelerated Bregman proximal gradient methods for relatively smooth convex
    optimization", 2021.

    Args:
        axis: the axis along which slices are points of a simplex.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> [f"{x:.4f}" for x in mirror.SimplexBurgEntropy().from_dual(jnp.array([1.0, -0.5]))]
        ['0.6667', '0.3333']
    """

    axis: int = eqx.field(static=True, default=-1)
    domain: ClassVar[str] = "unit simplex without its boundary"

    def potential(self, x: Float[Array, "..."]) -> Scalar:
        return -jnp.sum(jnp.log(x))

    def to_dual(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return -1 / x

    def from_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        return simplex_slices(dual, jnp.zeros((), dual.dtype), self.axis)

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        x = self.from_dual(dual)
        return jnp.sum(dual * x) - self.potential(x)

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        return jnp.sum(less_log1p((x - y) / y))

    def project(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.from_dual(self.to_dual(y))

    def center_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same dual with largest entry zero."""
        return dual - jax.lax.stop_gradient(jnp.max(dual, self.axis, keepdims=True))

    def norm(self, x: Float[Array, "..."]) -> Scalar:
        """The l1 norm of one slice; the Euclidean norm of those of several."""
        return one_norm_of_slices(x, self.axis)

    def dual_norm(self, gradient: Float[Array, "..."]) -> Scalar:
        """The largest absolute entry of one slice; the Euclidean norm of those of several."""
        return largest_of_slices(gradient, self.axis)

    def _prox_dual(self, dual: Float[Array, "..."], penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        return simplex_prox(dual, penalty, step, self.axis)

    def modulus(self, like: Float[Array, "..."], radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.ones((), _tree.dtype_of(like))

    def contains(self, x: Float[Array, "..."]) -> BoolScalar:
        return jnp.all(x > 0) & sums_to_one(x, self.axis)
