import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._log_barrier import LogBarrier
from ._parts import fills
from ._spectral import symmetric_part
from ._spectral_function import SpectralFunction


class LogDet(AbstractPenalty):
    """Logarithmic barrier of the positive definite matrices, `-strength * log det x`, on symmetric matrices.

    The prox is positive definite whatever its argument, of which it takes the symmetric part; the value is infinite off
    the symmetric matrices. Strength zero leaves the indicator of the positive semidefinite ones. The conjugate is
    finite at negative definite matrices only, which no scaling reaches: `dual_scale` is 1. Raises `ValueError` for a
    known negative strength, and where `x` is not square.

    Boyd and Vandenberghe, "Convex optimization", 2004, section 3.1.5; the prox as in Boyd, Parikh, Chu, Peleato and
    Eckstein, "Distributed optimization and statistical learning via the alternating direction method of multipliers",
    2011, section 6.5.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.LogDet(2.0).prox(jnp.diag(jnp.array([1.0, -1.0])), step=1.0).round(4).tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def _of_eigenvalues(self) -> SpectralFunction:
        return SpectralFunction(LogBarrier(self.strength), symmetric=True)

    def value(self, x: Float[Array, "n n"]) -> Scalar:
        return self._of_eigenvalues().value(x)

    def prox(self, x: Float[Array, "n n"], step: ArrayLike) -> Float[Array, "n n"]:
        return self._of_eigenvalues().prox(x, step)

    def conjugate(self, dual: Float[Array, "n n"]) -> Scalar:
        return self._of_eigenvalues().conjugate(dual)

    def minimal_subgradient(self, x: Float[Array, "n n"], gradient: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """The symmetric part of `gradient`, less `strength` times the inverse of `x`, for x positive definite."""
        return symmetric_part(gradient) - _tree.match(self.strength, x) * symmetric_part(jnp.linalg.inv(x))

    def support(self, x: Float[Array, "n n"]) -> Array:
        return fills(x)
