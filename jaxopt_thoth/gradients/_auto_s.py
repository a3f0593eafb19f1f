import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._abstract_clipping import AbstractNormClipping


class AutoS(AbstractNormClipping):
    """Automatic clipping, `max_norm * gradient / (|gradient| + stability)`: nearly a normalization, with no level.

    `max_norm` (a scalar) only sets the unit, and may be absorbed into the step size. The `stability`, a scalar, keeps
    short gradients short: with 0 every gradient has norm `max_norm`, which can stall away from a stationary point.
    Raises `ValueError` where one of them is known to be negative.

    Bu et al., "Automatic clipping: differentially private deep learning made easier and stronger", 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> gradients.AutoS(max_norm=1.0, stability=1.0)(jnp.array([3.0, 0.0])).tolist()
        [0.75, 0.0]
    """

    max_norm: Scalar
    stability: Scalar

    def __init__(self, max_norm: ArrayLike = 1.0, stability: ArrayLike = 0.01, *, nan_safe: bool = True):
        require_nonnegative(max_norm, "max_norm")
        require_nonnegative(stability, "stability")
        self.max_norm = _tree.setting(max_norm)
        self.stability = _tree.setting(stability)
        self.nan_safe = nan_safe

    def factor(self, norm: Scalar) -> Scalar:
        total = norm + _tree.match(self.stability, norm)
        unit = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
        return _tree.match(self.max_norm, norm) * unit

    @property
    def bound(self) -> Scalar:
        return self.max_norm
