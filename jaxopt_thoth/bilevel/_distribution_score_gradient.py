from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._types import Params, Scalar
from ._distribution_log_probs import log_probs


def score_function_gradient(
    log_prob: Callable[[Params, Any], Scalar],
    policy: Params,
    actions: Any,
    costs: Float[Array, " S"],
    *,
    baseline: bool = True,
) -> Params:
    """Estimate the gradient of an expected cost from S independent draws, without derivatives of the cost.

    `mean_s (cost_s - b_s) grad log_prob(policy, action_s)`, the baseline b_s being the mean cost of the other draws:
    the estimate is unbiased with it and without.

    Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992.

    Args:
        log_prob: `log_prob(policy, action)`, a scalar.
        policy: parameters of the distribution, a pytree.
        actions: draws, a pytree whose leaves have the leading axis S.
        costs: their costs (S,).
        baseline: subtract the mean cost of the other draws, which lowers the variance; needs two draws.

    Raises:
        ValueError: if there is only one draw and a baseline.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> log_prob = lambda logits, action: bilevel.CategoricalPolicy(logits).log_prob(action)
        >>> costs = jnp.array([1.0, 3.0])
        >>> print(bilevel.score_function_gradient(log_prob, jnp.zeros(2), jnp.array([0, 1]), costs))
        [-1.  1.]
    """
    if baseline:
        size = costs.shape[0]
        if size < 2:
            raise ValueError("baseline=True compares draws, and there is only one; draw more, or pass baseline=False.")
        costs = (costs - jnp.mean(costs)) * (size / (size - 1))
    costs = jax.lax.stop_gradient(costs).astype(_tree.dtype_of(policy))
    return jax.grad(lambda policy: jnp.mean(costs * log_probs(log_prob, policy, actions)))(policy)
