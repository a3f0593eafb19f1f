import math

from jaxtyping import ArrayLike

from .._validate import require_nonnegative, require_positive
from ._calibrate_search import known_number, least_noise
from ._rdp_arithmetic import arithmetic, require_within
from ._rdp_relative_epsilon import relative_epsilon


def calibrate_relative_gaussian(
    epsilon: ArrayLike,
    delta: ArrayLike,
    slope: ArrayLike,
    dimension: ArrayLike,
    steps: ArrayLike = 1,
    tolerance: float = 1e-6,
) -> float:
    """The least noise multiplier with which `steps` releases of the relative Gaussian mechanism meet (epsilon, delta).

    Scalars; the result is at most a relative `tolerance` above the least one by `relative_gaussian_epsilon`, which of
    it does not exceed the target. Not every target can be met: the variance itself tells about the data, which costs
    about `2 slope sqrt(dimension steps log(1 / delta))` whatever the noise.

    Raises `ValueError` for a target below that floor, with the floor and what would lower it; for a negative slope, an
    epsilon, dimension, steps or tolerance that are not positive, and delta outside (0, 1); `TypeError` for traced
    arguments.

    Canonne, Kamath and Steinke, "The discrete Gaussian for differential privacy", 2020, for the conversion.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.calibrate_relative_gaussian(1.0, 1e-5, 2.22e-3, 10, steps=50):.1f}")
        31.1
    """
    target, failure = known_number(epsilon, "epsilon"), known_number(delta, "delta")
    relative, size, count = (
        known_number(value, name) for value, name in ((slope, "slope"), (dimension, "dimension"), (steps, "steps"))
    )
    require_within(target, "epsilon", 0.0, math.inf, closed=False)
    require_within(failure, "delta", 0, 1, closed=False)
    require_nonnegative(relative, "slope")
    require_positive(size, "dimension")
    require_positive(count, "steps")
    require_positive(tolerance, "tolerance")
    ops = arithmetic(target)
    loss = lambda noise: float(relative_epsilon(ops, relative, noise, size, count, failure))
    floor = loss(math.inf)
    if floor >= target:
        raise ValueError(
            f"epsilon {target:g} cannot be met at delta {failure:g}: slope {relative:g}, dimension {size:g} and "
            f"{count:g} steps cost epsilon {floor:g} under infinite noise, because the noise depends on the data; "
            f"take fewer steps, fewer coordinates or a smaller slope (more examples), or a larger epsilon."
        )
    return least_noise(loss, target, tolerance)
