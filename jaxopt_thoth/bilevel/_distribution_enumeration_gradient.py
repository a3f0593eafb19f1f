from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._types import Params, Scalar
from ._distribution_log_probs import log_probs


def enumeration_gradient(
    log_prob: Callable[[Params, Any], Scalar], policy: Params, actions: Any, costs: Float[Array, " K"]
) -> Params:
    """The gradient of an expected cost, from all actions that the distribution can draw.

    Of one categorical distribution this is `p (costs - <p, costs>)` in the logits.

    Args:
        log_prob: `log_prob(policy, action)`, a scalar.
        policy: parameters of the distribution, a pytree.
        actions: every action once, a pytree whose leaves have the leading axis K.
        costs: their costs (K,).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> log_prob = lambda logits, action: bilevel.CategoricalPolicy(logits).log_prob(action)
        >>> costs = jnp.array([1.0, 3.0])
        >>> print(bilevel.enumeration_gradient(log_prob, jnp.zeros(2), jnp.arange(2), costs))
        [-0.5  0.5]
    """
    costs = jax.lax.stop_gradient(costs).astype(_tree.dtype_of(policy))
    return jax.grad(lambda policy: jnp.sum(costs * jnp.exp(log_probs(log_prob, policy, actions))))(policy)
