import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._validate import known_leaves
from ._power_ema import require_power


_WIDEST = 12**-0.5
# Newton's method starts within a few units of the root, and doubles its digits in each step.
_NEWTON_STEPS = 9


def width_from_power(power: ArrayLike) -> Array:
    """Standard deviation of the weights of a power average, as a share of the length of the training.

    `sqrt(p + 1) / ((p + 2) sqrt(p + 3))`: what Karras et al. name the relative width of the profile `s^p`.

    T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila and S. Laine, "Analyzing and improving the training
    dynamics of diffusion models", 2024.

    Args:
        power: above -1; a scalar or a vector.

    Raises:
        ValueError: if a power is out of range.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.gradients.width_from_power(0.0).round(4))
        0.2887
    """
    require_power(power, "power")
    p = _tree.setting(power)
    return jnp.sqrt((p + 1) / (p + 3)) / (p + 2)


def power_from_width(width: ArrayLike) -> Array:
    """Power of the average whose weights have the given standard deviation, as a share of the training.

    The largest real root of `p^3 + 7 p^2 + (16 - width^-2) p + 12 - width^-2`, differentiable in the width. The inverse
    of `width_from_power` on powers from 0 up.

    T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila and S. Laine, "Analyzing and improving the training
    dynamics of diffusion models", 2024.

    Args:
        width: in (0, 12^-1/2], the uniform average being the widest; a scalar or a vector.

    Raises:
        ValueError: if a width is out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.power_from_width(jnp.array([0.05, 0.1])).round(3))
        [16.972  6.937]
    """
    for known in known_leaves(width):
        if not ((known > 0) & (known <= _WIDEST * (1 + 1e-6))).all():
            raise ValueError(f"width must be in (0, 0.28867], got {known}; 0.28867 is that of the uniform average.")
    w = _tree.setting(width)
    # In x = p w no term of the cubic is large, and it is positive and convex from the root to x = 1.
    x = jnp.ones_like(w)
    for _ in range(_NEWTON_STEPS):
        value = x**3 - x + w * (7 * x**2 - 1) + 16 * w**2 * x + 12 * w**3
        slope = 3 * x**2 - 1 + 14 * w * x + 16 * w**2
        x = x - value / slope
    return x / w
