from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._types import Params, Scalar


def pathwise_gradient(
    sample: Callable[[Params, Key[Array, ""]], Any],
    policy: Params,
    keys: Key[Array, " S"],
    cost: Callable[[Any], Scalar],
) -> Params:
    """Estimate the gradient of an expected cost by the derivative of the draws themselves.

    Unbiased where `sample` is an exact draw that is differentiable in the policy, such as `SmoothedUniform.sample`; of
    the relaxed draws of `CategoricalPolicy.sample_relaxed` it is the gradient of the relaxed cost.

    Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", 2017.

    Args:
        sample: `sample(policy, key)`, differentiable in the policy.
        policy: parameters of the distribution, a pytree.
        keys: random keys (S,).
        cost: `cost(action)`, differentiable.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> sample = lambda mean, key: mean + jax.random.normal(key)
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> print(bilevel.pathwise_gradient(sample, jnp.asarray(1.0), keys, lambda action: 3 * action))
        3.0
    """
    return jax.grad(lambda policy: jnp.mean(jax.vmap(lambda key: cost(sample(policy, key)))(keys)))(policy)
