import jax
import optax
from jaxtyping import Array

from .. import _tree
from .._types import Params
from ._abstract_clipping import AbstractClipping
from ._clip_transform import require_rule


def clip_with_error_feedback(rule: AbstractClipping) -> optax.GradientTransformation:
    """Clipping that keeps what it cuts off and adds it to the next gradient, so that on average nothing is lost.

    With memory e, `update = rule(e + gradient)` and `e <- e + gradient - update`: updates and gradients have the same
    sum up to the memory, and the bias that clips a skewed noise (`clipping_floor`) is gone wherever the memory stays
    bounded. That is where the mean gradient is shorter than the level of the rule: far from the solution the memory
    winds up and the iterates overshoot, so start close or with a level that is large enough. It gives no privacy: what
    is cut off comes back later. With a `nan_safe` rule a gradient that is not finite leaves the memory as it is.

    Args:
        rule: maps a gradient to the clipped one.

    Raises:
        TypeError: if `rule` is no clipping rule.

    Karimireddy et al., "Error feedback fixes SignSGD and other gradient compression schemes", 2019.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> feedback = gradients.clip_with_error_feedback(gradients.GlobalClip(1.0))
        >>> state = feedback.init(jnp.zeros(1))
        >>> for gradient in (2.5, 0.0, 0.0, 0.0):
        ...     update, state = feedback.update(jnp.array([gradient]), state)
        ...     print(update.item())
        1.0
        1.0
        0.5
        0.0
    """
    require_rule(rule)

    def init(params: Params) -> Params:
        return optax.tree.zeros_like(params)

    def update(updates: Params, state: Params, params: Params | None = None) -> tuple[Params, Params]:
        if rule.nan_safe:
            updates = _tree.where(_tree.all_finite(updates), updates, _tree.zeros_like(updates))
        owed = jax.tree.map(_add, state, updates)
        clipped = rule(owed)
        return clipped, _tree.sub(owed, clipped)

    return optax.GradientTransformation(init, update)


def _add(memory: Array, gradient: Array) -> Array:
    return memory.astype(gradient.dtype) + gradient
