from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._rdp_arithmetic import answer, arithmetic, require_within


def zcdp_to_epsilon(rho: Float[ArrayLike, "*batch"], delta: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
    """Epsilon of a mechanism with zero-concentrated differential privacy: `rho + 2 sqrt(rho log(1 / delta))`.

    A Gaussian mechanism has `rho = 1 / (2 noise_multiplier^2)`, and rho adds over releases. This is the classical
    conversion of the divergences `rho * order` at the best order; `rdp_to_epsilon` of them is tighter. Raises
    `ValueError` for negative rho and for delta outside (0, 1).

    Bun and Steinke, "Concentrated differential privacy: simplifications, extensions, and lower bounds", 2016.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.zcdp_to_epsilon(0.5, 1e-5):.4f}")
        5.2985
    """
    require_nonnegative(rho, "rho")
    require_within(delta, "delta", 0, 1, closed=False)
    ops = arithmetic(rho, delta)
    xp, some = ops.xp, ops.array(rho) > 0
    product = xp.where(some, ops.array(rho), 1.0) * -xp.log(ops.array(delta))
    return answer(ops.array(rho) + xp.where(some, 2.0 * xp.sqrt(product), 0.0), rho, delta)
