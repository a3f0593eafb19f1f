from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._rdp_arithmetic import answer, arithmetic


def relative_gaussian_largest_order(slope: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """The order from which on the divergence of a relative Gaussian mechanism is infinite: `R / (R - 1)`.

    Here `R = (1 + slope)^2` is the largest ratio of the variances of neighbors; about `1 / (2 slope)` for a small
    slope, infinite at zero. Raises `ValueError` for a negative slope.

    Gil, Alajaji and Linder, "Rényi divergence measures for commonly used univariate continuous distributions", 2013.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.relative_gaussian_largest_order(0.05):.3f}")
        10.756
    """
    require_nonnegative(slope, "slope")
    ops = arithmetic(slope)
    values = ops.array(slope)
    some = values > 0
    growth = ops.xp.where(some, values * (2.0 + values), 1.0)
    return answer(ops.xp.where(some, 1.0 + 1.0 / growth, ops.xp.inf), slope)
