from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import require_nonnegative
from ..projections import l2_ball
from . import _oracles
from ._base import AbstractPenalty
from ._parts import at_most, indicator, times


class L2Ball(AbstractPenalty):
    """Indicator of the Euclidean ball `{|x|_2 <= radius}`, all entries of the array or pytree as one vector.

    Raises `ValueError` for a known negative radius.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.5.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.L2Ball(2.0).prox(jnp.array([0.0, 4.0]), step=1.0).tolist()
        [0.0, 2.0]
    """

    radius: Scalar

    is_indicator: ClassVar[bool] = True

    def __init__(self, radius: ArrayLike):
        require_nonnegative(radius, "radius")
        self.radius = _tree.setting(radius)

    def value(self, x: Params) -> Scalar:
        return indicator(at_most(_tree.stable_norm(x), self.radius), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return l2_ball(x, self.radius)

    def conjugate(self, dual: Params) -> Scalar:
        norm = _tree.stable_norm(dual)
        return _tree.match(self.radius, norm) * norm

    def linear_minimizer(self, gradient: Params) -> Params:
        return _oracles.l2_ball(gradient, self.radius)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        norm = _tree.stable_norm(x)
        unit = times(x, 1 / jnp.where(norm > 0, norm, 1))
        outward = jnp.maximum(-_tree.vdot(unit, gradient), 0)
        tangent = _tree.add(gradient, times(unit, outward))
        moved = _tree.where(_tree.match(self.radius, norm) > 0, tangent, _tree.zeros_like(gradient))
        return _tree.where(self._at_boundary(norm), moved, gradient)

    def support(self, x: Params) -> Params:
        alive = self.radius > 0
        return jax.tree.map(lambda a: jnp.broadcast_to(alive, a.shape), x)

    def is_feasible(self) -> BoolScalar:
        return self.radius >= 0

    def _at_boundary(self, norm: Array) -> Array:
        return at_most(_tree.match(self.radius, norm), norm)
