import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._abstract_clipping import AbstractNormClipping


class NormalizedClip(AbstractNormClipping):
    """Clipping to norm `max_norm`, then division by it: `gradient / max(max_norm, |gradient|)`.

    The bound is 1 at any level, so that the step size and the noise need no change with it; level 0 normalizes each
    gradient (and leaves zero at zero). Raises `ValueError` for a known negative `max_norm`, a scalar.

    De et al., "Unlocking high-accuracy differentially private image classification through scale", 2022.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> gradients.NormalizedClip(max_norm=4.0)(jnp.array([0.0, 2.0])).tolist()
        [0.0, 0.5]
    """

    max_norm: Scalar

    def __init__(self, max_norm: ArrayLike, *, nan_safe: bool = True):
        require_nonnegative(max_norm, "max_norm")
        self.max_norm = _tree.setting(max_norm)
        self.nan_safe = nan_safe

    def factor(self, norm: Scalar) -> Scalar:
        largest = jnp.maximum(_tree.match(self.max_norm, norm), norm)
        return jnp.where(largest > 0, 1 / jnp.where(largest > 0, largest, 1), 0)

    @property
    def bound(self) -> Scalar:
        return jnp.ones_like(self.max_norm)
