from typing import Any, Self

import equinox as eqx
import jax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._abstract_clipping import AbstractClipping, scale_by_norm
from ._global_clip import GlobalClip


class PerLayerClip(AbstractClipping):
    """Clipping of the norm of each block of the gradient to a level of its own.

    `levels` is a pytree prefix of the gradient, one scalar a block: a level over a whole layer clips its weights and
    biases together. The sum moves by the norm of the levels; `PerLayerClip.uniform` splits one level evenly. Raises
    `ValueError` for a known negative level, and when called on a gradient of which `levels` is no prefix.

    McMahan et al., "Learning differentially private recurrent language models", 2018.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> rule = gradients.PerLayerClip({"w": 3.0, "b": 4.0})
        >>> rule({"w": jnp.array([0.0, 6.0]), "b": jnp.array(1.0)})["w"].tolist(), rule.bound.item()
        ([0.0, 3.0], 5.0)
    """

    levels: Any

    def __init__(self, levels: Any, *, nan_safe: bool = True):
        require_nonnegative(levels, "levels")
        self.levels = _tree.settings(levels)
        self.nan_safe = nan_safe

    @classmethod
    def uniform(cls, max_norm: ArrayLike, tree: Params, *, nan_safe: bool = True) -> Self:
        """The rule that clips each of the K array leaves of a pytree to `max_norm / sqrt(K)`.

        Args:
            max_norm: scalar, the norm that the whole gradient is kept below.
            tree: the parameters, or a gradient: floating-point arrays are leaves, anything else is left out.
            nan_safe: as in the constructor.

        Raises:
            ValueError: if `tree` has no floating-point array, or for a known negative `max_norm`.
        """
        layers = eqx.filter(tree, eqx.is_inexact_array)
        count = len(jax.tree.leaves(layers))
        if count == 0:
            raise ValueError("tree must have a floating-point array among its leaves, got none; pass the parameters.")
        require_nonnegative(max_norm, "max_norm")
        level = _tree.setting(max_norm) / count**0.5
        return cls(jax.tree.map(lambda _: level, layers), nan_safe=nan_safe)

    def _clip(self, gradient: Params) -> Params:
        try:
            jax.tree.broadcast(self.levels, gradient)
        except ValueError as error:
            here, there = jax.tree.structure(self.levels), jax.tree.structure(gradient)
            raise ValueError(
                f"levels must be a pytree prefix of the gradient, got {here} for {there}; give one level a block, or "
                "use PerLayerClip.uniform(max_norm, gradient)."
            ) from error
        return jax.tree.map(lambda level, block: scale_by_norm(block, GlobalClip(level).factor), self.levels, gradient)

    @property
    def bound(self) -> Scalar:
        return _tree.stable_norm(self.levels)
