from jaxtyping import ArrayLike

from .._types import Params
from ._global_clip import GlobalClip


def clip(tree: Params, max_norm: ArrayLike, *, nan_safe: bool = True) -> Params:
    """A gradient brought to norm `max_norm` if it is longer, the norm being that of the whole pytree.

    Args:
        tree: the gradient, any pytree of arrays; what comes back has its structure, shapes and dtypes.
        max_norm: scalar; infinity clips nothing, 0 everything.
        nan_safe: whether a pytree with a NaN or an infinity anywhere becomes zero; otherwise it is passed on.

    Raises:
        ValueError: for a known negative `max_norm`.

    Abadi et al., "Deep learning with differential privacy", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> gradients.clip({"w": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}, 2.5)["b"].item()
        2.0
    """
    return GlobalClip(max_norm, nan_safe=nan_safe)(tree)
