from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative, require_positive
from ._rdp_arithmetic import Arithmetic, evaluate, log1p_excess, require_orders


def relative_gaussian_rdp(
    order: Float[ArrayLike, "*shape"],
    slope: Float[ArrayLike, "*shape"],
    noise_multiplier: Float[ArrayLike, "*shape"],
    dimension: Float[ArrayLike, "*shape"],
) -> Float[Array, "*shape"]:
    """Rényi divergence of one release of the relative Gaussian mechanism, whose noise grows with what it hides.

    A query f with values in `dimension` coordinates is relative with slope r and offset b if between neighbors it moves
    by at most `t = r min(|f|, |f'|) + b`; the release is `f + noise_multiplier (r |f| + b) z` with z standard normal.
    With `R = (1 + r)^2` and `v = order - (order - 1) R` the divergence is at most

        order / (2 noise_multiplier^2 v) - dimension (log v + (order - 1) log R) / (2 (order - 1)),

    attained by collinear values with norms in the ratio 1 + r, and infinite where v <= 0: from the order `R / (R - 1)`
    on. The offset does not enter. The bound is the same for the squared variant, with `t^2 <= r^2 min^2 + b^2` and
    noise `noise_multiplier sqrt(r^2 |f|^2 + b^2)`, which attains it at b = 0. At slope 0 it is that of a Gaussian.

    The arguments broadcast. Differentiable in all but the order's passing of the largest. Known arguments are computed
    in float64 whatever the setting of JAX; traced ones in the dtype that JAX has.

    Raises `ValueError` for orders not above 1, a negative slope or noise multiplier, and a dimension not above zero.

    Gil, Alajaji and Linder, "Rényi divergence measures for commonly used univariate continuous distributions", 2013,
    for the divergence of two Gaussians.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.relative_gaussian_rdp(2.0, 0.05, 3.0, 10):.6f}")
        0.176610
        >>> print(f"{privacy.relative_gaussian_rdp(11.0, 0.05, 3.0, 10):.6f}")
        inf
    """
    require_orders(order)
    require_nonnegative(slope, "slope")
    require_nonnegative(noise_multiplier, "noise_multiplier")
    require_positive(dimension, "dimension")
    arguments = (order, slope, noise_multiplier, dimension)
    return evaluate(relative_rdp, *arguments)


def relative_rdp(ops: Arithmetic, order: Any, slope: Any, noise_multiplier: Any, dimension: Any) -> Any:
    """The divergence in a given arithmetic, without checks."""
    xp, arguments = ops.xp, (order, slope, noise_multiplier, dimension)
    shape = np.broadcast_shapes(*(np.shape(value) for value in arguments))
    order, slope, noise_multiplier, dimension = (xp.broadcast_to(ops.array(value), shape) for value in arguments)
    growth = slope * (2.0 + slope)
    excess = order - 1.0
    finite = excess * growth < 1
    shrink = xp.where(finite, excess * growth, 0.0)
    noisy = noise_multiplier > 1e-15
    # Infinite noise leaves the second part, which no noise removes.
    noise = xp.where(noisy, xp.minimum(noise_multiplier, 1e15), 1.0)
    mean = order / (2.0 * noise * noise * (1.0 - shrink))
    # The linear parts of the logarithms cancel; what is left of each is negative.
    spread = log1p_excess(xp, -shrink) + excess * log1p_excess(xp, growth)
    divergence = mean - dimension / (2.0 * excess) * spread
    return xp.where(finite & noisy & (order > 1), divergence, xp.where(order > 1, xp.inf, xp.nan))
