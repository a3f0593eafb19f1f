from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._rdp_arithmetic import answer, arithmetic, require_orders, require_within
from ._rdp_best import best_epsilon, check_conversion, Conversion


def rdp_to_epsilon(
    orders: Float[ArrayLike, "n"],
    rdp: Float[ArrayLike, "*batch n"],
    delta: Float[ArrayLike, "*batch"],
    *,
    conversion: Conversion = "improved",
) -> Float[Array, "*batch"]:
    """Epsilon of a mechanism whose Rényi divergences are known, by the best of the orders.

    `conversion="classical"` is `rdp + log(1 / delta) / (order - 1)` (Mironov, "Rényi differential privacy", 2017);
    "improved" (the default, never larger) is that of Canonne, Kamath and Steinke, "The discrete Gaussian for
    differential privacy", 2020, with the bound on the total variation of Bretagnolle and Huber, 1979, for very small
    divergences. Divergences add over releases, and may be infinite.

    Raises `ValueError` for orders not above 1, negative divergences, delta outside (0, 1) and unknown conversions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import privacy
        >>> orders = jnp.linspace(1.1, 20.0, 190)
        >>> print(f"{privacy.rdp_to_epsilon(orders, orders / 2, 1e-5):.4f}")
        4.7285
    """
    require_orders(orders)
    require_nonnegative(rdp, "rdp")
    require_within(delta, "delta", 0, 1, closed=False)
    check_conversion(conversion)
    ops = arithmetic(orders, rdp, delta)
    return answer(best_epsilon(ops, orders, ops.array(rdp), ops.array(delta), conversion), orders, rdp, delta)
