import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar


def perturbation_entropy(raw_scale: Float[Array, " m"]) -> Scalar:
    """Entropy of the noise that `perturb` adds, `sum log(scale sqrt(2 pi e))`.

    Args:
        raw_scale: scales (m,) before the softplus.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> print(f"{bilevel.perturbation_entropy(jnp.array([0.5413248546])):.4f}")
        1.4189
    """
    return jnp.sum(jnp.log(jax.nn.softplus(raw_scale)) + 0.5 * math.log(2 * math.pi * math.e))
