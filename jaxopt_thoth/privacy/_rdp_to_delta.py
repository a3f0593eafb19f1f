from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ._rdp_arithmetic import answer, arithmetic, require_orders
from ._rdp_best import best_delta, check_conversion, Conversion


def rdp_to_delta(
    orders: Float[ArrayLike, "n"],
    rdp: Float[ArrayLike, "*batch n"],
    epsilon: Float[ArrayLike, "*batch"],
    *,
    conversion: Conversion = "improved",
) -> Float[Array, "*batch"]:
    """Delta at a given epsilon of a mechanism whose Rényi divergences are known, by the best of the orders.

    The inverse of `rdp_to_epsilon`, with its conversions: "classical" (Mironov, "Rényi differential privacy", 2017)
    and "improved" (Canonne, Kamath and Steinke, "The discrete Gaussian for differential privacy", 2020).

    Raises `ValueError` for orders not above 1, negative divergences or epsilon, and unknown conversions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import privacy
        >>> orders = jnp.linspace(1.1, 20.0, 190)
        >>> print(f"{privacy.rdp_to_delta(orders, orders / 2, 4.7285):.2e}")
        1.00e-05
    """
    require_orders(orders)
    require_nonnegative(rdp, "rdp")
    require_nonnegative(epsilon, "epsilon")
    check_conversion(conversion)
    ops = arithmetic(orders, rdp, epsilon)
    return answer(best_delta(ops, orders, ops.array(rdp), ops.array(epsilon), conversion), orders, rdp, epsilon)
