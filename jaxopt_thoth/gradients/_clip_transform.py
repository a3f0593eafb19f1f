import optax

from ._abstract_clipping import AbstractClipping


def clip_transform(rule: AbstractClipping) -> optax.GradientTransformation:
    """A clipping rule as an optax transformation of the averaged gradient.

    Clipping an average bounds the step, not the influence of an example: for privacy clip each example.
    `optax.clip_by_global_norm`, `optax.adaptive_grad_clip` and `optax.clip_by_block_rms` are of the same kind; the
    first passes NaN on, where a `nan_safe` rule skips the gradient.

    Args:
        rule: maps a gradient to the clipped one.

    Raises:
        TypeError: if `rule` is no clipping rule.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxopt_thoth import gradients
        >>> optimizer = optax.chain(gradients.clip_transform(gradients.SmoothClip(4.0)), optax.sgd(1.0))
        >>> print(optimizer.update(jnp.array([3.0]), optimizer.init(jnp.zeros(1)))[0].round(4))
        [-2.4]
    """
    require_rule(rule)
    return optax.stateless(lambda updates, params: rule(updates))


def require_rule(rule: AbstractClipping) -> None:
    if not isinstance(rule, AbstractClipping):
        raise TypeError(
            f"rule must be a clipping rule, got {type(rule).__name__}; pass for example gradients.GlobalClip(1.0)."
        )
