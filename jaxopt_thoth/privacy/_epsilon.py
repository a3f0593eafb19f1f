from typing import Any

from jaxtyping import Array, ArrayLike, Float

from ..gradients._relation import NeighboringRelation
from ._pld import pld_epsilon
from ._rdp_arithmetic import answer, Arithmetic, evaluate, require_within
from ._rdp_best import best_epsilon, ORDERS
from ._rdp_releases import Accountant, check_releases, repeated_rdp


def epsilon(
    sampling_rate: Float[ArrayLike, "*batch"],
    noise_multiplier: Float[ArrayLike, "*batch"],
    steps: Float[ArrayLike, "*batch"],
    delta: Float[ArrayLike, "*batch"],
    accountant: Accountant = "rdp",
    relation: NeighboringRelation = NeighboringRelation.add_or_remove_one,
) -> Float[Array, "*batch"]:
    """Epsilon at `delta` of `steps` releases of a Gaussian mechanism, each on a Poisson sample of the examples.

    The noise multiplier is the standard deviation of the noise over the sensitivity under the `relation`. Infinite
    without noise, zero without releases. Releases that differ from each other: `composed_epsilon`.

    `accountant="rdp"` adds Rényi divergences and converts them by the best of 156 orders (`subsampled_gaussian_rdp`,
    `rdp_to_epsilon`). It is an upper bound, differentiable in the sampling rate, the noise multiplier, the steps and
    delta, and its arguments broadcast. Known arguments are computed in float64 whatever the setting of JAX; traced ones
    in the dtype that JAX has, in float32 good to about 1e-5. It has no formula for the relation `replace_one` with
    Poisson sampling.

    `accountant="pld"` composes the distributions of the privacy loss, for any relation, on known scalars, by the
    dp-accounting library (`pip install jaxopt_thoth[privacy]`): a smaller upper bound, never above that of "rdp".

    Raises `ValueError` for sampling rates outside [0, 1], negative noise or steps, delta outside (0, 1) and what an
    accountant does not cover; `TypeError` for traced arguments of "pld"; `ImportError` where it is not installed.

    Mironov, Talwar and Zhang, "Rényi differential privacy of the sampled Gaussian mechanism", 2019; Doroshenko, Ghazi,
    Kamath, Kumar and Manurangsi, "Connect the dots: tighter discrete approximations of privacy loss distributions",
    2022.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.epsilon(0.01, 1.0, 1000, 1e-5):.3f}")
        2.101
    """
    check_releases(sampling_rate, noise_multiplier, steps, accountant, relation)
    require_within(delta, "delta", 0, 1, closed=False)
    arguments = (sampling_rate, noise_multiplier, steps, delta)
    if accountant == "pld":
        return answer(pld_epsilon(*arguments, relation), *arguments)
    return evaluate(rdp_epsilon, *arguments)


def rdp_epsilon(ops: Arithmetic, sampling_rate: Any, noise_multiplier: Any, steps: Any, delta: Any) -> Any:
    """The bound by Rényi divergences in a given arithmetic, without checks."""
    return best_epsilon(ops, ORDERS, repeated_rdp(ops, sampling_rate, noise_multiplier, steps), ops.array(delta))
