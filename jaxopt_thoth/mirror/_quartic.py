from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..penalties import AbstractPenalty
from ._base import AbstractMirrorMap, odd_prox


class Quartic(AbstractMirrorMap):
    """Quartic potential `|x|^4 / 4 + |x|^2 / 2`, on any pytree, to which quartic polynomials are relatively smooth.

    Its modulus is 1 in the Euclidean norm. The composite step is closed for `L1` and `NonNegative`.

    Bolte, Sabach, Teboulle and Vaisbourd, "First order methods beyond convexity and Lipschitz gradient continuity with
    applications to quadratic inverse problems", 2018.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.Quartic().from_dual(jnp.array([0.0, 10.0])).round(4).tolist()
        [0.0, 2.0]
    """

    domain: ClassVar[str] = "all vectors"

    def potential(self, x: Params) -> Scalar:
        square = _tree.squared_norm(x)
        return square**2 / 4 + square / 2

    def to_dual(self, x: Params) -> Params:
        return _tree.scale(1 + _tree.squared_norm(x), x)

    def from_dual(self, dual: Params) -> Params:
        size = _tree.norm(dual)
        positive = size > 0
        safe = jnp.where(positive, size, 1)
        root = 2 / 3**0.5 * jnp.sinh(jnp.arcsinh(1.5 * 3**0.5 * safe) / 3)
        return _tree.scale(jnp.where(positive, root / safe, 1), dual)

    def conjugate(self, dual: Params) -> Scalar:
        square = _tree.squared_norm(self.from_dual(dual))
        return square / 2 + 3 * square**2 / 4

    def divergence(self, x: Params, y: Params) -> Scalar:
        move = _tree.sub(x, y)
        square = _tree.squared_norm(move)
        growth = 2 * _tree.vdot(y, move) + square
        return square * (1 + _tree.squared_norm(y)) / 2 + growth**2 / 4

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
        return odd_prox(dual, penalty, step)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.ones((), _tree.dtype_of(like))
