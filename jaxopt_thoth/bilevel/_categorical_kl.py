from jaxtyping import Array, Float

from .._types import Scalar
from ..mirror import NegativeEntropy


def kl_categorical(logits: Float[Array, "... K"], anchor: Float[Array, "... K"]) -> Scalar:
    """Kullback-Leibler divergence of categorical distributions from others, summed over the leading axes.

    Its gradient in the logits is `p (log p - log q - KL)`.

    Args:
        logits: logits (..., K) of p; each slice of the last axis is a distribution.
        anchor: logits (..., K) of q.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> print(f"{bilevel.kl_categorical(jnp.log(jnp.array([0.25, 0.75])), jnp.zeros(2)):.4f}")
        0.1308
    """
    if logits.shape != anchor.shape:
        raise ValueError(f"logits and anchor must have one shape, got {logits.shape} and {anchor.shape}.")
    return NegativeEntropy().dual_divergence(logits, anchor)
