from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..penalties import AbstractPenalty, L2Ball
from ._base import AbstractMirrorMap, odd_prox


class HellingerBall(AbstractMirrorMap):
    """Hellinger potential `-sqrt(1 - |x|^2)` of the open Euclidean unit ball, on any pytree.

    Its modulus is 1 in the Euclidean norm. The composite step is closed for `L2Ball`, `L1` and
    `NonNegative`.

    Bauschke, Bolte and Teboulle, "A descent lemma beyond Lipschitz gradient continuity: first-order methods
    revisited and applications", 2017.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.HellingerBall().step(jnp.zeros(2), jnp.array([0.0, -0.75]), 1.0).round(4).tolist()
        [0.0, 0.6]
    """

    domain: ClassVar[str] = "open Euclidean unit ball"

    def potential(self, x: Params) -> Scalar:
        return -_height(x)

    def to_dual(self, x: Params) -> Params:
        return _tree.scale(1 / _height(x), x)

    def from_dual(self, dual: Params) -> Params:
        return _tree.scale(1 / jnp.sqrt(1 + _tree.squared_norm(dual)), dual)

    def conjugate(self, dual: Params) -> Scalar:
        return jnp.sqrt(1 + _tree.squared_norm(dual))

    def divergence(self, x: Params, y: Params) -> Scalar:
        """Half the squared distance of the points lifted to the sphere, over the height of y."""
        height_x, height_y = _height(x), _height(y)
        move = _tree.sub(x, y)
        rise = _tree.vdot(move, _tree.add(x, y)) / (height_x + height_y)
        return (_tree.squared_norm(move) + rise**2) / (2 * height_y)

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
        if not isinstance(penalty, L2Ball):
            return odd_prox(dual, penalty, step)
        norm = _tree.norm(dual)
        radius = penalty.radius.astype(norm.dtype)
        inner = radius < 1
        safe = jnp.where(inner, radius, 0)
        longest = safe / jnp.sqrt((1 - safe) * (1 + safe))
        cut = inner & (norm > longest)
        return _tree.scale(jnp.where(cut, longest / jnp.where(cut, norm, 1), 1), dual)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.ones((), _tree.dtype_of(like))

    def contains(self, x: Params) -> BoolScalar:
        return _tree.squared_norm(x) < 1


def _height(x: Params) -> Scalar:
    size = _tree.norm(x)
    return jnp.sqrt((1 - size) * (1 + size))
