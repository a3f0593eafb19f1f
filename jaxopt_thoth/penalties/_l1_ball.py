from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative
from ..projections import l1_ball
from . import _oracles
from ._base import AbstractPenalty
from ._parts import indicator, normal_shift, rows_of, slack, soft_threshold, unrows


class L1Ball(AbstractPenalty):
    """Indicator of the l1 ball `{sum |x| <= radius}` of one array.

    `axis=None` takes the array as one vector; an integer gives every slice along that axis a ball of its own, and
    `radius` may then broadcast against the other axes. Raises `ValueError` for a known negative radius.

    Duchi, Shalev-Shwartz, Singer and Chandra, "Efficient projections onto the l1-ball for learning in high dimensions",
    2008.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.L1Ball(1.0).prox(jnp.array([2.0, -1.5, 0.0]), step=1.0).tolist()
        [0.75, -0.25, 0.0]
    """

    radius: Float[Array, "..."]
    axis: int | None = eqx.field(static=True)

    is_indicator: ClassVar[bool] = True

    def __init__(self, radius: ArrayLike, axis: int | None = None):
        require_nonnegative(radius, "radius")
        self.radius = _tree.setting(radius)
        self.axis = axis

    def _room(self, x: Float[Array, "..."]) -> tuple[Array, Array]:
        """Rows of `x`, and how far each is inside its ball, with rounding counted as the boundary (zero)."""
        rows = rows_of(x, self.axis)
        sums = jnp.sum(jnp.abs(rows), -1)
        radius = _tree.match(self.radius, sums)
        room = radius - sums
        return rows, jnp.where(jnp.abs(room) <= slack(x, radius), 0, room)

    def value(self, x: Float[Array, "..."]) -> Scalar:
        return indicator(jnp.all(self._room(x)[1] >= 0), x)

    def prox(self, x: Float[Array, "..."], step: ArrayLike) -> Float[Array, "..."]:
        return l1_ball(x, self.radius, self.axis)

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        peaks = jnp.max(jnp.abs(rows_of(dual, self.axis)), -1)
        return jnp.sum(_tree.match(self.radius, peaks) * peaks)

    def linear_minimizer(self, gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        return _oracles.l1_ball(gradient, self.radius, self.axis)

    def minimal_subgradient(self, x: Float[Array, "..."], gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        def row(a: Array, g: Array, room: Array) -> Array:
            # On the support the normal cone moves along the sign; off it, it reaches as far in either direction.
            pull = jnp.where(a != 0, -g * jnp.sign(a), jnp.abs(g))
            shift = jnp.maximum(normal_shift(pull, a != 0), 0)
            moved = jnp.where(a != 0, g + shift * jnp.sign(a), soft_threshold(g, shift))
            return jnp.where(room > 0, g, moved)

        rows, room = self._room(x)
        moved = jnp.vectorize(row, signature="(n),(n),()->(n)")(rows, rows_of(gradient, self.axis), room)
        return unrows(moved, x, self.axis)

    def support(self, x: Float[Array, "..."]) -> Array:
        rows, room = self._room(x)
        return unrows((rows != 0) | (room > 0)[..., None], x, self.axis)

    def is_feasible(self) -> BoolScalar:
        return jnp.all(self.radius >= 0)
