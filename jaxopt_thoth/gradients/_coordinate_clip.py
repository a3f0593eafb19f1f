import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._abstract_clipping import AbstractClipping


class CoordinateClip(AbstractClipping):
    """Clipping of each entry of the gradient to [-max_value, max_value].

    The bound of the Euclidean norm, `max_value * sqrt(size)`, grows with the number of entries `size`, which is
    therefore asked for; `max_value` is a scalar. Raises `ValueError` for a known negative `max_value`, a `size` that is
    no positive integer, and when called on a gradient of another size.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> rule = gradients.CoordinateClip(max_value=1.0, size=4)
        >>> rule(jnp.array([3.0, 0.5, 0.0, -2.0])).tolist(), rule.bound.item()
        ([1.0, 0.5, 0.0, -1.0], 2.0)
    """

    max_value: Scalar
    size: int = eqx.field(static=True)

    def __init__(self, max_value: ArrayLike, size: int, *, nan_safe: bool = True):
        require_nonnegative(max_value, "max_value")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a positive integer, got {size!r}; pass the number of parameters.")
        self.max_value = _tree.setting(max_value)
        self.size = size
        self.nan_safe = nan_safe

    def _clip(self, gradient: Params) -> Params:
        size = sum(leaf.size for leaf in jax.tree.leaves(gradient))
        if size != self.size:
            raise ValueError(
                f"size must be the number of entries of the gradient, which is {size}, got {self.size}; the "
                "sensitivity depends on it (under a batch of gradients, jax.vmap the rule)."
            )

        def clamp(a):
            level = _tree.match(self.max_value, a)
            return jnp.clip(a, -level, level)

        return jax.tree.map(clamp, gradient)

    @property
    def bound(self) -> Scalar:
        return self.max_value * self.size**0.5
