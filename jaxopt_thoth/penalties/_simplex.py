from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative
from ..projections import simplex
from . import _oracles
from ._base import AbstractPenalty
from ._parts import indicator, normal_shift, rows_of, slack, unrows


class Simplex(AbstractPenalty):
    """Indicator of the simplex `{x >= 0, sum x = radius}` of one array.

    `axis=None` takes the array as one vector; an integer asks every slice along that axis to be in a simplex of its
    own (`axis=0`: columns of abundances), and `radius` may then broadcast against the other axes. Raises `ValueError`
    for a known negative radius.

    Condat, "Fast projection onto the simplex and the l1 ball", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.Simplex().prox(jnp.array([1.0, 0.5, -1.0]), step=1.0).tolist()
        [0.75, 0.25, 0.0]
    """

    radius: Float[Array, "..."]
    axis: int | None = eqx.field(static=True)

    is_indicator: ClassVar[bool] = True

    def __init__(self, radius: ArrayLike = 1.0, axis: int | None = None):
        require_nonnegative(radius, "radius")
        self.radius = _tree.setting(radius)
        self.axis = axis

    def value(self, x: Float[Array, "..."]) -> Scalar:
        rows = rows_of(x, self.axis)
        sums = jnp.sum(rows, -1)
        radius = _tree.match(self.radius, sums)
        room = slack(rows[..., :1], jnp.maximum(1, jnp.max(radius)))
        closed = jnp.abs(sums - radius) <= slack(x, jnp.maximum(1, radius))
        return indicator(jnp.all(rows >= -room) & jnp.all(closed), x)

    def prox(self, x: Float[Array, "..."], step: ArrayLike) -> Float[Array, "..."]:
        return simplex(x, self.radius, self.axis)

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        peaks = jnp.max(rows_of(dual, self.axis), -1)
        return jnp.sum(_tree.match(self.radius, peaks) * peaks)

    def linear_minimizer(self, gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        return _oracles.simplex(gradient, self.radius, self.axis)

    def minimal_subgradient(self, x: Float[Array, "..."], gradient: Float[Array, "..."]) -> Float[Array, "..."]:
        def row(a: Array, g: Array) -> Array:
            shifted = g + normal_shift(-g, a > 0)
            return jnp.where(a > 0, shifted, jnp.minimum(shifted, 0))

        rows = jnp.vectorize(row, signature="(n),(n)->(n)")(rows_of(x, self.axis), rows_of(gradient, self.axis))
        return unrows(rows, x, self.axis)

    def support(self, x: Float[Array, "..."]) -> Array:
        return x > 0

    def is_feasible(self) -> BoolScalar:
        return jnp.all(self.radius >= 0)
