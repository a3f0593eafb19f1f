from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from .._validate import require_positive
from ..penalties import AbstractPenalty
from ._base import AbstractMirrorMap
from ._slices import power_logarithm, simplex_prox, simplex_slices, sums_to_one
from ._stable import power_divergence


class Tsallis(AbstractMirrorMap):
    """Tsallis entropy `(sum x^a - 1) / (a (a - 1))` on the unit simplex: entropy at a = 1, Euclidean at a = 2.

    `to_dual` is `(x^(a-1) - 1) / (a - 1)`, known up to a constant along a slice; `from_dual` (entmax, for a > 1)
    solves for that constant inside a bracket, and its derivatives in the dual and in a are implicit. For a > 1 points
    may have zeros, and entries move off them again; for a <= 1 zeros are frozen. The modulus is 1 in the Euclidean norm
    for a <= 2, else none. The composite step is closed for `Simplex`, `L1` and `NonNegative`. Raises `ValueError` for a
    known `a <= 0`.

    Tsallis, "Possible generalization of Boltzmann-Gibbs statistics", 1988; Peters, Niculae and Martins, "Sparse
    sequence-to-sequence models", 2019.

    Args:
        a: the exponent, above 0; 1 is allowed and means its limit.
        axis: the axis along which slices are points of a simplex.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.Tsallis(2.0).from_dual(jnp.array([1.0, 0.5, -1.0])).round(4).tolist()
        [0.75, 0.25, 0.0]
    """

    a: Scalar
    axis: int = eqx.field(static=True)
    domain: ClassVar[str] = "unit simplex"

    def __init__(self, a: ArrayLike = 1.5, axis: int = -1):
        require_positive(a, "a")
        self.a = _tree.setting(a)
        self.axis = axis

    def potential(self, x: Float[Array, "..."]) -> Scalar:
        a = self.a.astype(x.dtype)
        alive = x > 0
        safe = jnp.where(alive, x, 1)
        return jnp.sum(jnp.where(alive, safe * power_logarithm(safe, a), 0)) / a

    def to_dual(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return power_logarithm(x, self.a.astype(x.dtype))

    def from_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        return simplex_slices(dual, self.a, self.axis)

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        x = self.from_dual(dual)
        return jnp.sum(jnp.where(x > 0, x * jnp.where(x > 0, dual, 0), 0)) - self.potential(x)

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        return jnp.sum(power_divergence(x, y, self.a.astype(x.dtype)))

    def project(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.from_dual(self.to_dual(y))

    def center_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same dual with largest entry zero."""
        return dual - jax.lax.stop_gradient(jnp.max(dual, self.axis, keepdims=True))

    def _prox_dual(self, dual: Float[Array, "..."], penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        return simplex_prox(dual, penalty, step, self.axis)

    def modulus(self, like: Float[Array, "..."], radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.where(self.a <= 2, 1, 0).astype(_tree.dtype_of(like))

    def contains(self, x: Float[Array, "..."]) -> BoolScalar:
        inside = jnp.where(self.a > 1, jnp.all(x >= 0), jnp.all(x > 0))
        return inside & sums_to_one(x, self.axis)
