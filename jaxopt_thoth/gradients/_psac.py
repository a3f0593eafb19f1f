from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ._abstract_clipping import AbstractNormClipping


class PSAC(AbstractNormClipping):
    """Per-sample adaptive clipping, `max_norm * gradient / (|gradient| + r / (|gradient| + r))` with r the `radius`.

    Long gradients are normalized to about `max_norm`, short ones are multiplied by about `max_norm` (and not by
    `max_norm / stability` as under `AutoS`); in between the factor is not monotone in the norm. Both settings are
    scalars. Raises `ValueError` for a known negative `max_norm` or a known `radius` that is not positive.

    Xia et al., "Differentially private learning with per-sample adaptive clipping", 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> print(gradients.PSAC(max_norm=1.0, radius=1.0)(jnp.array([1.0, 0.0])).round(4))
        [0.6667 0.    ]
    """

    max_norm: Scalar
    radius: Scalar

    def __init__(self, max_norm: ArrayLike = 1.0, radius: ArrayLike = 0.1, *, nan_safe: bool = True):
        require_nonnegative(max_norm, "max_norm")
        require_positive(radius, "radius")
        self.max_norm = _tree.setting(max_norm)
        self.radius = _tree.setting(radius)
        self.nan_safe = nan_safe

    def factor(self, norm: Scalar) -> Scalar:
        radius = _tree.match(self.radius, norm)
        return _tree.match(self.max_norm, norm) / (norm + radius / (norm + radius))

    @property
    def bound(self) -> Scalar:
        return self.max_norm
