import math

from jaxtyping import ArrayLike

from .._validate import require_nonnegative, require_positive
from ..gradients._relation import NeighboringRelation
from ._calibrate_search import known_number, least_noise, MOST_NOISE
from ._epsilon import rdp_epsilon
from ._pld import pld_epsilon
from ._rdp_arithmetic import arithmetic, require_within
from ._rdp_releases import Accountant, check_releases


def calibrate_noise(
    epsilon: ArrayLike,
    delta: ArrayLike,
    sampling_rate: ArrayLike,
    steps: ArrayLike,
    accountant: Accountant = "rdp",
    relation: NeighboringRelation = NeighboringRelation.add_or_remove_one,
    tolerance: float = 1e-6,
) -> float:
    """The least noise multiplier with which `steps` releases on Poisson samples meet a target epsilon at `delta`.

    Scalars; the standard deviation of the noise is the result times the sensitivity under the `relation`. The result is
    at most a relative `tolerance` above the least one, and `jt.privacy.epsilon` of it does not exceed the target.
    Accountants and relations are those of `jt.privacy.epsilon`; "pld" needs less noise, and seconds.

    Raises `ValueError` for an epsilon or tolerance that is not positive or finite, delta outside (0, 1), sampling rates
    outside [0, 1], negative steps, and what the accountant does not cover, as targets of "rdp" below about
    `log(1 / delta) / 1000`; `TypeError` for traced arguments.

    Brent, "Algorithms for minimization without derivatives", 1973, for the bracketed search.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.calibrate_noise(1.0, 1e-5, 0.01, 1000):.4f}")
        1.5131
    """
    target, failure = known_number(epsilon, "epsilon"), known_number(delta, "delta")
    rate, count = known_number(sampling_rate, "sampling_rate"), known_number(steps, "steps")
    check_releases(rate, 1.0, count, accountant, relation)
    require_within(target, "epsilon", 0.0, math.inf, closed=False)
    require_within(failure, "delta", 0, 1, closed=False)
    require_positive(tolerance, "tolerance")
    require_nonnegative(count, "steps")
    if rate == 0 or count == 0:
        return 0.0
    ops = arithmetic(rate)
    loss = lambda noise: float(rdp_epsilon(ops, rate, noise, count, failure))
    floor = loss(MOST_NOISE)
    if accountant == "rdp":
        if floor > target:
            raise ValueError(
                f"epsilon {target:g} cannot be shown at delta {failure:g} by accountant 'rdp', whose orders end where "
                f"epsilon is {floor:g}; pass accountant='pld', or a larger epsilon or delta."
            )
        return least_noise(loss, target, tolerance)
    guess = least_noise(loss, target, 1e-2) if floor <= target else 1.0
    return least_noise(lambda noise: pld_epsilon(rate, noise, count, failure, relation), target, tolerance, guess)
