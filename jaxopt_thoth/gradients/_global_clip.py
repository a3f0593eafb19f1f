import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._abstract_clipping import AbstractNormClipping


class GlobalClip(AbstractNormClipping):
    """Clipping of the norm of the whole gradient, `gradient * min(1, max_norm / |gradient|)`.

    It is the projection on the ball of radius `max_norm`, a scalar, and so a contraction, and the gradient of the Huber
    function of the norm. Infinity clips nothing, 0 everything. Raises `ValueError` for a known negative `max_norm`.

    Abadi et al., "Deep learning with differential privacy", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> rule = gradients.GlobalClip(max_norm=2.5)
        >>> rule({"w": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)})["b"].item()
        2.0
    """

    max_norm: Scalar

    def __init__(self, max_norm: ArrayLike, *, nan_safe: bool = True):
        require_nonnegative(max_norm, "max_norm")
        self.max_norm = _tree.setting(max_norm)
        self.nan_safe = nan_safe

    def factor(self, norm: Scalar) -> Scalar:
        max_norm = _tree.match(self.max_norm, norm)
        inside = norm <= max_norm
        return jnp.where(inside, 1, max_norm / jnp.where(inside, 1, norm))

    @property
    def bound(self) -> Scalar:
        return self.max_norm
