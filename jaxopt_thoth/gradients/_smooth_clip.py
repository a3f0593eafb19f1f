import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._abstract_clipping import AbstractNormClipping


class SmoothClip(AbstractNormClipping):
    """Clipping without a kink, `gradient / sqrt(1 + |gradient|^2 / max_norm^2)`.

    It is the gradient of the pseudo-Huber function of the norm, infinitely differentiable and a contraction; short
    gradients pass nearly unchanged. Infinity clips nothing, 0 everything. Raises `ValueError` for a known negative
    `max_norm`, a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> print(gradients.SmoothClip(max_norm=4.0)(jnp.array([3.0, 0.0])).round(4))
        [2.4 0. ]
    """

    max_norm: Scalar

    def __init__(self, max_norm: ArrayLike, *, nan_safe: bool = True):
        require_nonnegative(max_norm, "max_norm")
        self.max_norm = _tree.setting(max_norm)
        self.nan_safe = nan_safe

    def factor(self, norm: Scalar) -> Scalar:
        max_norm = _tree.match(self.max_norm, norm)
        short = norm <= max_norm
        # The ratio that is at most 1, whose square cannot overflow.
        small = jnp.where(max_norm > 0, norm / jnp.where(short & (max_norm > 0), max_norm, 1), 0)
        large = max_norm / jnp.where(short, 1, norm)
        return jnp.where(short, 1, large) / jnp.sqrt(1 + jnp.where(short, small, large) ** 2)

    @property
    def bound(self) -> Scalar:
        return self.max_norm
