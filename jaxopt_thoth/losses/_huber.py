import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import require_positive
from ._base import AbstractLoss
from ._domain import finite_where, require_finite, slack


class Huber(AbstractLoss):
    """Half the squared residual up to `delta`, linear beyond: a regression that outliers cannot drag.

    With r = score - target: `r^2 / 2` for |r| <= delta, `delta |r| - delta^2 / 2` beyond; `delta` has the unit of
    the targets. Scores and targets have the same shape. Raises `ValueError` unless a known `delta` is positive.

    Huber, "Robust estimation of a location parameter", 1964.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> losses.Huber(delta=1.0)(jnp.array([0.5, 3.0]), jnp.array([0.0, 0.0])).tolist()
        [0.125, 2.5]
    """

    delta: Scalar

    def __init__(self, delta: ArrayLike = 1.0):
        require_positive(delta, "delta")
        self.delta = _tree.setting(delta)

    # optax.losses.huber_loss goes through |r|, whose second derivative at r = 0 autodiff takes as 0 instead of 1.
    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        residual = score - _tree.match(target, score)
        clipped = self.derivative(score, target)
        return clipped * (residual - 0.5 * clipped)

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(1.0)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        delta = _tree.match(self.delta, score)
        return jnp.clip(score - _tree.match(target, score), -delta, delta)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        inside = jnp.abs(dual) <= _tree.match(self.delta, dual) * (1 + slack(dual))
        return finite_where(inside, dual * (0.5 * dual + _tree.match(target, dual)))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_finite(targets, "Huber")
