class PrivacyError(ValueError):
    """A privacy bound was asked for a run that broke what the bound assumes; it has none.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt, optax
        >>> plan = jt.privacy.Plan(1.0, num_examples=4, steps=1, clipping=jt.gradients.GlobalClip(1.0))
        >>> method = jt.privacy.DPGD(lambda w, x: (w - x) ** 2, plan, optax.sgd(0.1))
        >>> data, params, state = jnp.ones(4), jnp.zeros(()), method.init(jnp.zeros(()), jax.random.key(0))
        >>> for _ in range(2):
        ...     params, state = method.update(params, state, data)
        >>> try:
        ...     plan.epsilon(1e-5, state)
        ... except jt.privacy.PrivacyError as error:
        ...     print(error)
        the run took 2 steps, and 1 was planned; plan as many as are taken, before the first.
    """
