from typing import Any

import jax
import jax.numpy as jnp
import optax


def categorical_natural_gradient() -> optax.GradientTransformation:
    """An optax transformation from gradients in logits to natural gradients: steps along them are mirror steps.

    Of the gradient `p (costs - <p, costs>)` of an expected cost it makes `costs - <p, costs>`: gradient descent with
    step size t then is exponentiated gradient on the probabilities. With the gradient of `weight KL(p | q)` added,
    steps with `t = eta / (1 + weight eta)` are the proximal mirror steps
    `argmin <p, costs> + weight KL(p | q) + KL(p | p_old) / eta`, and `t = 1 / weight` is `kl_proximal_categorical`.
    Probabilities that have vanished stay as they are.

    Every leaf holds logits along its last axis. Chain it, for example with `optax.sgd`.

    Beck and Teboulle, "Mirror descent and nonlinear projected subgradient methods for convex optimization", 2003.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxopt_thoth import bilevel
        >>> step = optax.chain(bilevel.categorical_natural_gradient(), optax.sgd(1.0))
        >>> gradient, logits = jnp.array([-0.25, 0.25]), jnp.zeros(2)
        >>> print(step.update(gradient, step.init(logits), logits)[0])
        [ 0.5 -0.5]
    """

    def natural(gradient: jax.Array, logits: jax.Array) -> jax.Array:
        p = jax.nn.softmax(logits)
        alive = p > jnp.finfo(p.dtype).tiny
        return jnp.where(alive, gradient / jnp.where(alive, p, 1), 0)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        if params is None:
            raise ValueError("categorical_natural_gradient needs the logits; pass params to update.")
        return jax.tree.map(natural, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
