from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._validate import concrete, require_nonnegative
from ._rdp_arithmetic import answer, Arithmetic, arithmetic, require_orders, require_within
from ._rdp_moment import LARGEST_ORDER, log_moment


# Outside of these the squares leave the range of float32, and the bound is infinite or that of the limit.
_LEAST_NOISE, _MOST_NOISE = 1e-15, 1e15


def subsampled_gaussian_rdp(
    order: Float[ArrayLike, "*shape"],
    sampling_rate: Float[ArrayLike, "*shape"],
    noise_multiplier: Float[ArrayLike, "*shape"],
) -> Float[Array, "*shape"]:
    """Rényi divergence of one release of a Gaussian mechanism on a Poisson sample of the examples.

    The arguments broadcast against each other. `order` is above 1; the noise multiplier is the standard deviation of
    the noise over the sensitivity. Valid for adding, removing or zeroing out one example; at sampling rate 1 for any
    relation. Zero at sampling rate 0, infinite without noise.

    Integer orders up to 1024 are exact sums. Orders between integers are integrated numerically (to about 1e-12) below
    16, and above are interpolated along a convex function, which bounds them from above; so they are for noise below
    1e-3. Orders beyond 1024 answer infinity unless every example is sampled. Differentiable in the sampling rate and
    the noise multiplier.

    Known arguments are computed in float64 whatever the setting of JAX. Traced ones are in the dtype that JAX has: in
    float32 good to about 1e-5, and to 1e-3 for traced orders near the largest.

    Raises `ValueError` for orders not above 1, sampling rates outside [0, 1] and negative noise.

    Mironov, Talwar and Zhang, "Rényi differential privacy of the sampled Gaussian mechanism", 2019.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.subsampled_gaussian_rdp(8, 0.01, 1.0):.6e}")
        8.936439e-04
    """
    require_orders(order)
    require_within(sampling_rate, "sampling_rate", 0, 1, closed=True)
    require_nonnegative(noise_multiplier, "noise_multiplier")
    arguments = (order, sampling_rate, noise_multiplier)
    ops = arithmetic(*arguments)
    return answer(gaussian_rdp(ops, *arguments), *arguments)


def gaussian_rdp(ops: Arithmetic, order: ArrayLike, sampling_rate: ArrayLike, noise_multiplier: ArrayLike) -> Any:
    """The divergence in a given arithmetic, without checks."""
    xp = ops.xp
    known = concrete(order)
    shape = np.broadcast_shapes(*(np.shape(value) for value in (order, sampling_rate, noise_multiplier)))
    spread = lambda value: xp.broadcast_to(ops.array(value), shape).reshape(-1)
    rate, noise = spread(sampling_rate), spread(noise_multiplier)
    # A known order stays in NumPy: the sums are then as long as they have to be.
    orders = spread(order) if known is None else np.broadcast_to(known.astype(np.float64), shape).reshape(-1)
    own = np if known is not None else xp
    summable = orders <= LARGEST_ORDER
    sampled = (rate > 0) & (rate < 1)
    noisy = xp.clip(noise, _LEAST_NOISE, _MOST_NOISE)
    moment = log_moment(ops, own.where(summable, orders, 2.0), xp.where(sampled, rate, 0.5), noisy)
    each = ops.array(orders)
    divergence = xp.where(summable, moment / xp.where(summable, each - 1.0, 1.0), xp.inf)
    divergence = xp.where(rate < 1, divergence, each / (2.0 * noisy * noisy))
    divergence = xp.where(noise < _LEAST_NOISE, xp.inf, xp.where(xp.isinf(noise), 0.0, divergence))
    divergence = xp.where(rate <= 0, 0.0, divergence)
    return xp.where(each > 1, divergence, xp.nan).reshape(shape)
