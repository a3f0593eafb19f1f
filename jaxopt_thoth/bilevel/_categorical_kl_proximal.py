from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_positive
from ..mirror import NegativeEntropy


def kl_proximal_categorical(
    costs: Float[Array, "... K"], anchor: Float[Array, "... K"], weight: ArrayLike
) -> tuple[Float[Array, "... K"], Scalar]:
    """Minimize `<p, costs> + weight KL(p | q)` over distributions p: `q exp(-costs / weight)`, normalized.

    Args:
        costs: costs (..., K) of the outcomes.
        anchor: logits (..., K) of q.
        weight: weight of the divergence, positive.

    Returns:
        The logarithms of p (..., K), and the least value, `-weight log sum q exp(-costs / weight)`.

    Raises:
        ValueError: if the shapes differ, or the weight is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> logits, value = bilevel.kl_proximal_categorical(jnp.array([0.0, jnp.log(3.0)]), jnp.zeros(2), 1.0)
        >>> print(jnp.exp(logits), f"{value:.4f}")
        [0.75 0.25] 0.4055
    """
    if costs.shape != anchor.shape:
        raise ValueError(f"costs and anchor must have one shape, got {costs.shape} and {anchor.shape}.")
    require_positive(weight, "weight")
    strength = _tree.match(weight, costs)
    entropy = NegativeEntropy()
    shifted = entropy.center_dual(anchor) - costs / strength
    return entropy.center_dual(shifted), -strength * entropy.conjugate(shifted)
