from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._rdp_arithmetic import Arithmetic, evaluate


# Panels for an integrand that falls like an exponential or a Gaussian, in units of its width.
_EDGES = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 28.0, 42.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_TIMES = (np.diff(_EDGES)[:, None] * (_NODES + 1) / 2 + _EDGES[:-1, None]).reshape(-1)
_TIME_WEIGHTS = (np.diff(_EDGES)[:, None] * _WEIGHTS / 2).reshape(-1)


def gaussian_delta(
    epsilon: Float[ArrayLike, "*shape"], noise_multiplier: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """The exact delta at `epsilon` of one release of a Gaussian mechanism.

    With s the noise multiplier (standard deviation over sensitivity) and Phi the normal distribution function it is
    `Phi(1 / (2 s) - epsilon s) - exp(epsilon) Phi(-1 / (2 s) - epsilon s)`, computed without cancellation or overflow.
    T releases are one release with noise `s / sqrt(T)`. The arguments broadcast; differentiable in both. One without
    noise. Known arguments are computed in float64 whatever the setting of JAX.

    Raises `ValueError` for a negative epsilon or noise multiplier.

    Balle and Wang, "Improving the Gaussian mechanism for differential privacy: analytical calibration and optimal
    denoising", 2018.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.gaussian_delta(1.0, 3.730632):.4e}")
        1.0000e-05
    """
    require_nonnegative(epsilon, "epsilon")
    require_nonnegative(noise_multiplier, "noise_multiplier")
    return evaluate(gaussian_tail, epsilon, noise_multiplier)


def gaussian_tail(ops: Arithmetic, epsilon: Any, noise: Any) -> Any:
    """The curve in a given arithmetic, without checks."""
    shape = np.broadcast_shapes(np.shape(epsilon), np.shape(noise))
    epsilon, noise = (ops.xp.broadcast_to(ops.array(value), shape) for value in (epsilon, noise))
    xp, log_ndtr = ops.xp, ops.special.log_ndtr
    noisy, finite = noise > 1e-15, (noise < 1e15) & (epsilon < 1e15)
    sigma = xp.where(noisy & finite, noise, 1.0)
    level = xp.where(finite, epsilon, 1.0)
    upper = 0.5 / sigma - level * sigma
    # The difference of the two tails, over the density at the upper one, is a positive integral.
    integrated = upper < 2
    start = xp.where(integrated, upper, 0.0)
    width = 1.0 / (1.0 + xp.maximum(-start, 0.0))
    times = width[..., None] * ops.array(_TIMES).reshape((1,) * width.ndim + (-1,))
    slope, rate = start[..., None], (1.0 / sigma)[..., None]
    heights = xp.exp(slope * times - times * times / 2.0) * -xp.expm1(-rate * times)
    area = width * xp.sum(heights * ops.array(_TIME_WEIGHTS).reshape((1,) * width.ndim + (-1,)), axis=-1)
    near = xp.exp(-start * start / 2.0) * area / np.sqrt(2 * np.pi)
    lower = -0.5 / sigma - level * sigma
    far = xp.exp(log_ndtr(upper)) - xp.exp(xp.minimum(level + log_ndtr(lower), 0.0))
    value = xp.where(integrated, near, far)
    return xp.where(noisy, xp.where(finite, value, 0.0), 1.0)
