from typing import Any

from jaxtyping import Array, ArrayLike, Float

from ..gradients._relation import NeighboringRelation
from ._pld import pld_epsilon
from ._rdp_arithmetic import answer, Arithmetic, evaluate, require_within
from ._rdp_best import best_epsilon, ORDERS
from ._rdp_releases import Accountant, check_releases, composed_rdp


def composed_epsilon(
    sampling_rates: Float[ArrayLike, "m"],
    noise_multipliers: Float[ArrayLike, "m"],
    steps: Float[ArrayLike, "m"],
    delta: Float[ArrayLike, ""],
    accountant: Accountant = "rdp",
    relation: NeighboringRelation = NeighboringRelation.add_or_remove_one,
) -> Float[Array, ""]:
    """Epsilon at `delta` of releases that differ: row i is `steps[i]` releases at its sampling rate and noise.

    The three vectors (or scalars) broadcast, so that a schedule of noise is a vector with `steps=1`. The numbers must
    be fixed in advance: noise that is chosen in view of what was released is not covered. Accountants, relations and
    errors are those of `jt.privacy.epsilon`, which is this function for one row; "rdp" is differentiable in each row.

    Mironov, "Rényi differential privacy", 2017, for the composition.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.composed_epsilon([0.01, 1.0], [1.0, 4.0], [1000, 1], 1e-5):.3f}")
        2.342
    """
    check_releases(sampling_rates, noise_multipliers, steps, accountant, relation)
    require_within(delta, "delta", 0, 1, closed=False)
    arguments = (sampling_rates, noise_multipliers, steps, delta)
    if accountant == "pld":
        return answer(pld_epsilon(*arguments, relation), *arguments)
    return evaluate(_composed, *arguments)


def _composed(ops: Arithmetic, sampling_rates: Any, noise_multipliers: Any, steps: Any, delta: Any) -> Any:
    return best_epsilon(ops, ORDERS, composed_rdp(ops, sampling_rates, noise_multipliers, steps), ops.array(delta))
