from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ._base import AbstractPenalty
from ._oracles import OF_PROJECTION
from ._parts import indicator, slack


class Indicator(AbstractPenalty):
    """Indicator of the set onto which a function projects, `project(x, *args, **options)`: any of `projections` serves.

    The positional `args` are pytrees of numbers that may vary, as leaves; the keyword `options` are static (a count, an
    axis, a direction). Say `convex=False` for a set that is not, or `Conjugate` and the solvers are misled. A point
    is in the set if its projection moves no entry by more than rounding at the size of the point. There is no
    conjugate, as a projection alone does not give the support function; for a convex cone see `Cone`.

    `linear_minimizer` is known for the projections onto boxes, balls, simplices, `box_hyperplane` and `birkhoff` (by
    the Hungarian method); for others pass `oracle(gradient, *args, **options)`.

    Moreau, "Fonctions convexes duales et points proximaux dans un espace hilbertien", 1962.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties, projections
        >>> few = penalties.Indicator(projections.top_k, k=1, convex=False)
        >>> few.prox(jnp.array([1.0, -2.0]), step=1.0).tolist()
        [0.0, -2.0]
    """

    project: Callable[..., Array] = eqx.field(static=True)
    args: tuple[Params, ...]
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    convex: bool = eqx.field(static=True)
    oracle: Callable[..., Array] | None = eqx.field(static=True)

    is_indicator: ClassVar[bool] = True

    def __init__(
        self,
        project: Callable[..., Array],
        *args: Params,
        convex: bool = True,
        oracle: Callable[..., Array] | None = None,
        **options: Any,
    ):
        self.project = project
        known = [minimize for projection, minimize in OF_PROJECTION.items() if projection is project]
        self.oracle = oracle or (known[0] if known else None)
        self.args = _tree.settings(args)
        self.options = tuple(sorted(options.items()))
        self.convex = convex
        for name, option in self.options:
            if not isinstance(option, Hashable):
                kind = type(option).__name__
                raise ValueError(f"{name} must be static, got {kind}; pass what varies as a positional argument.")

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        return self.convex

    def _nearest(self, x: Array) -> Array:
        return self.project(x, *self.args, **dict(self.options))

    def linear_minimizer(self, gradient: Array) -> Array:
        oracle = self.oracle
        if oracle is None:
            return super().linear_minimizer(gradient)
        return oracle(gradient, *self.args, **dict(self.options))

    def value(self, x: Array) -> Scalar:
        return indicator(agree(x, self._nearest(x), x), x)

    def prox(self, x: Array, step: ArrayLike) -> Array:
        return self._nearest(x)


def agree(x: Array, y: Array, like: Array) -> Array:
    """Whether two points are the same up to rounding at the size of a third."""
    return jnp.max(jnp.abs(x - y), initial=0) <= 4 * slack(like, jnp.max(jnp.abs(like), initial=0))
