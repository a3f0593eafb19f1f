from typing import Any

from jaxtyping import Array, ArrayLike, Float

from .._validate import require_nonnegative
from ..gradients._relation import NeighboringRelation
from ._pld import pld_delta
from ._rdp_arithmetic import answer, Arithmetic, evaluate
from ._rdp_best import best_delta, ORDERS
from ._rdp_releases import Accountant, check_releases, repeated_rdp


def delta(
    sampling_rate: Float[ArrayLike, "*batch"],
    noise_multiplier: Float[ArrayLike, "*batch"],
    steps: Float[ArrayLike, "*batch"],
    epsilon: Float[ArrayLike, "*batch"],
    accountant: Accountant = "rdp",
    relation: NeighboringRelation = NeighboringRelation.add_or_remove_one,
) -> Float[Array, "*batch"]:
    """Delta at `epsilon` of `steps` releases of a Gaussian mechanism, each on a Poisson sample of the examples.

    The inverse of `jt.privacy.epsilon`: its arguments, accountants, guarantees and errors. One without noise, zero
    without releases. Raises `ValueError` for negative epsilon too.

    Mironov, Talwar and Zhang, "Rényi differential privacy of the sampled Gaussian mechanism", 2019.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.delta(0.01, 1.0, 1000, 2.101366):.2e}")
        1.00e-05
    """
    check_releases(sampling_rate, noise_multiplier, steps, accountant, relation)
    require_nonnegative(epsilon, "epsilon")
    arguments = (sampling_rate, noise_multiplier, steps, epsilon)
    if accountant == "pld":
        return answer(pld_delta(*arguments, relation), *arguments)
    return evaluate(_rdp_delta, *arguments)


def _rdp_delta(ops: Arithmetic, sampling_rate: Any, noise_multiplier: Any, steps: Any, epsilon: Any) -> Any:
    return best_delta(ops, ORDERS, repeated_rdp(ops, sampling_rate, noise_multiplier, steps), ops.array(epsilon))
