import math

from jaxtyping import ArrayLike

from .._validate import require_positive
from ._calibrate_search import known_number, least_noise
from ._gaussian_delta import gaussian_tail
from ._rdp_arithmetic import arithmetic, require_within


def calibrate_gaussian(epsilon: ArrayLike, delta: ArrayLike, steps: ArrayLike = 1, tolerance: float = 1e-10) -> float:
    """The least noise multiplier with which `steps` full releases of a Gaussian mechanism meet (epsilon, delta).

    Exact, by the curve of `gaussian_delta`, hence for any epsilon >= 0: the classical `sqrt(2 log(1.25 / delta)) /
    epsilon` is larger, and holds below epsilon 1 only. Scalars; the result is at most a relative `tolerance` above the
    least, and never below it. The standard deviation is the result times the sensitivity.

    Raises `ValueError` for a negative or infinite epsilon, delta outside (0, 1), and steps or a tolerance that are not
    positive; `TypeError` for traced arguments.

    Balle and Wang, "Improving the Gaussian mechanism for differential privacy: analytical calibration and optimal
    denoising", 2018.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.calibrate_gaussian(1.0, 1e-5):.6f}")
        3.730632
    """
    target, failure = known_number(epsilon, "epsilon"), known_number(delta, "delta")
    count = known_number(steps, "steps")
    require_within(target, "epsilon", 0.0, 1e12, closed=True)
    require_within(failure, "delta", 0, 1, closed=False)
    require_positive(count, "steps")
    require_positive(tolerance, "tolerance")
    ops = arithmetic(target)
    loss = lambda noise: float(gaussian_tail(ops, target, noise))
    return math.sqrt(count) * least_noise(loss, failure, tolerance)
