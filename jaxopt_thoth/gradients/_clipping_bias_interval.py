import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._types import Scalar
from .._validate import known_leaves, require_nonnegative, require_positive


def clipping_bias_interval(
    values: Float[Array, " n"], probabilities: Float[Array, " n"], clip: ArrayLike
) -> tuple[Scalar, Scalar]:
    """Mean gradients at which clipped SGD rests under a discrete noise: the interval of roots m of E clip(m + noise).

    That mean is piecewise linear and nondecreasing in m, so that its roots are exact up to rounding. They are one
    point unless no mass lies between the levels.

    Args:
        values: (n,), the values of the noise, whose mean is meant to be zero.
        probabilities: (n,), nonnegative, of sum one.
        clip: scalar, the level.

    Returns:
        The least and the largest root.

    Raises:
        ValueError: if the shapes differ, for known probabilities that are negative or do not sum to one, or for a known
            `clip` that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> lower, upper = gradients.clipping_bias_interval(jnp.array([-0.5, 2.0]), jnp.array([0.8, 0.2]), clip=1.0)
        >>> print(lower.round(5), upper.round(5))
        0.25 0.25
    """
    require_positive(clip, "clip")
    values, probabilities = _tree.as_inexact((values, probabilities))
    if values.ndim != 1 or values.shape != probabilities.shape:
        raise ValueError(
            f"probabilities must be a vector like values, got shapes {probabilities.shape} and {values.shape}; pass "
            "one probability a value."
        )
    require_nonnegative(probabilities, "probabilities")
    for known in known_leaves(probabilities):
        if abs(float(known.sum()) - 1) > known.size * float(jnp.finfo(known.dtype).eps) + 1e-6:
            raise ValueError(f"probabilities must sum to one, got {known.sum()}; divide them by their sum.")
    probabilities = probabilities.astype(values.dtype)
    level = jnp.asarray(clip).astype(values.dtype)
    # The kinks, in order; the mean is linear in between, -clip before the first and clip behind the last.
    kinks = jnp.sort(jnp.concatenate([-level - values, level - values]))
    means = jnp.sum(probabilities[None] * jnp.clip(kinks[:, None] + values[None], -level, level), axis=1)
    rounding = 8 * jnp.finfo(values.dtype).eps * level
    return _crossing(kinks, means, means < -rounding), _crossing(kinks, means, means <= rounding)


def _crossing(kinks: Float[Array, " n"], means: Float[Array, " n"], before: Bool[Array, " n"]) -> Scalar:
    left = jnp.sum(before) - 1
    fraction = jnp.clip(-means[left] / (means[left + 1] - means[left]), 0, 1)
    return kinks[left] + fraction * (kinks[left + 1] - kinks[left])
