import jax
from jaxtyping import Array, Float, Key


def perturb(
    h: Float[Array, " m"], raw_scale: Float[Array, " m"], key: Key[Array, ""], batch: int
) -> Float[Array, "batch m"]:
    """Draw hyper-parameters of their own for each example of a batch: `h + softplus(raw_scale) * noise`.

    Args:
        h: hyper-parameters (m,).
        raw_scale: scales (m,) before the softplus.
        key: random key.
        batch: number of examples.

    Raises:
        ValueError: if the shapes differ.

    MacKay, Vicol, Lorraine, Duvenaud and Grosse, "Self-tuning networks: bilevel optimization of hyperparameters using
    structured best-response functions", 2019.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> bilevel.perturb(jnp.zeros(2), jnp.zeros(2), jax.random.key(0), batch=3).shape
        (3, 2)
    """
    if h.ndim != 1 or raw_scale.shape != h.shape:
        raise ValueError(
            f"h and raw_scale must be vectors of one length, got shapes {h.shape} and {raw_scale.shape}; flatten them."
        )
    noise = jax.random.normal(key, (batch, *h.shape), h.dtype)
    return h[None] + jax.nn.softplus(raw_scale)[None] * noise
