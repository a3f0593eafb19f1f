from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative, require_positive
from ._rdp_arithmetic import Arithmetic, evaluate, require_within
from ._rdp_best import epsilons
from ._relative_gaussian_rdp import relative_rdp


_ORDERS, _CLOSE = 400, 257
_LARGEST_EXCESS = 1023.0


def relative_gaussian_epsilon(
    slope: Float[ArrayLike, ""],
    noise_multiplier: Float[ArrayLike, ""],
    dimension: Float[ArrayLike, ""],
    steps: Float[ArrayLike, ""],
    delta: Float[ArrayLike, ""],
) -> Float[Array, ""]:
    """Epsilon at `delta` of `steps` releases of the relative Gaussian mechanism (`relative_gaussian_rdp`).

    Scalars; the best order between 1 and the largest one. Noise alone does not bring it down to zero: infinite
    noise leaves about `2 slope sqrt(dimension steps log(1 / delta))`, the price of a variance that depends on the data.
    Differentiable in the slope, the noise multiplier, the steps and delta.

    Raises `ValueError` for a negative slope, noise multiplier or number of steps, a dimension not above zero, and delta
    outside (0, 1).

    Canonne, Kamath and Steinke, "The discrete Gaussian for differential privacy", 2020, for the conversion.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.relative_gaussian_epsilon(2.22e-3, 31.1, 10, 50, 1e-5):.2f}")
        1.00
    """
    require_nonnegative(slope, "slope")
    require_nonnegative(noise_multiplier, "noise_multiplier")
    require_positive(dimension, "dimension")
    require_nonnegative(steps, "steps")
    require_within(delta, "delta", 0, 1, closed=False)
    arguments = (slope, noise_multiplier, dimension, steps, delta)
    return evaluate(relative_epsilon, *arguments)


def relative_epsilon(ops: Arithmetic, slope: Any, noise_multiplier: Any, dimension: Any, steps: Any, delta: Any) -> Any:
    """The same in a given arithmetic, without checks."""
    xp = ops.xp
    slope, noise_multiplier, dimension, steps, delta = map(
        ops.array, (slope, noise_multiplier, dimension, steps, delta)
    )

    def each(orders: Any) -> Any:
        rdp = relative_rdp(ops, orders, slope, noise_multiplier, dimension)
        total = xp.where(steps > 0, xp.where(steps > 0, steps, 1.0) * rdp, 0.0)
        return epsilons(ops, orders, total, delta)

    # Every order gives a bound: the search for a good one is not differentiated.
    orders = _orders(ops, slope)
    best = xp.argmin(each(orders))
    low, high = orders[xp.maximum(best - 1, 0)], orders[xp.minimum(best + 1, _ORDERS - 1)]
    close = low + (high - low) * ops.array(np.linspace(0.0, 1.0, _CLOSE))
    return xp.min(each(close if xp is np else jax.lax.stop_gradient(close)))


def _orders(ops: Arithmetic, slope: Any) -> Any:
    """Orders that are dense, by their excess over one, below the largest."""
    xp = ops.xp
    growth = slope * (2.0 + slope)
    top = xp.minimum(1.0 / xp.maximum(growth, 1e-30), _LARGEST_EXCESS)
    bottom = xp.minimum(0.02, top / 100.0)
    part = ops.array(np.linspace(0.0, 1.0, _ORDERS + 1)[:-1])
    return 1.0 + bottom * xp.exp(part * xp.log(top / bottom))
