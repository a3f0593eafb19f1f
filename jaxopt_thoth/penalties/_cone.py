from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .._types import Params, Scalar
from ._indicator import agree, Indicator
from ._parts import indicator


class Cone(Indicator):
    """Indicator of a closed convex cone, given by its projection `project(x, *args, **options)`.

    The cones of `projections` are `nonnegative`, `second_order_cone`, `psd`, `isotonic` and `monotone_nonnegative`.
    Beyond `Indicator` it knows the conjugate, which is the indicator of the polar cone `{u: <u, x> <= 0}`, the points
    that are projected to zero. `dual_scale` is 1 in the polar cone and 0 off it.

    Moreau, "Décomposition orthogonale d'un espace hilbertien selon deux cônes mutuellement polaires", 1962.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties, projections
        >>> growing = penalties.Cone(projections.isotonic)
        >>> growing.prox(jnp.array([1.0, 3.0, 2.0]), step=1.0).tolist()
        [1.0, 2.5, 2.5]
        >>> float(growing.conjugate(jnp.array([1.0, 0.0, -1.0])))
        0.0
    """

    def __init__(self, project: Callable[..., Array], *args: Params, **options: Any):
        super().__init__(project, *args, convex=True, **options)

    def conjugate(self, dual: Array) -> Scalar:
        return indicator(self._is_polar(dual), dual)

    def dual_scale(self, dual: Array) -> Scalar:
        return jnp.where(self._is_polar(dual), 1, 0).astype(dual.dtype)

    def conjugate_prox(self, dual: Array, step: ArrayLike) -> Array:
        """Projection onto the polar cone, whatever the step."""
        return dual - self._nearest(dual)

    def _is_polar(self, dual: Array) -> Array:
        return agree(self._nearest(dual), jnp.zeros_like(dual), dual)
