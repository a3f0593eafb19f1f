from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Key

from .._types import IntScalar, Params, Scalar


class DistributionBilevelState(eqx.Module):
    """State of `DistributionBilevel`.

    Attributes:
        weights: inner variable.
        policy: parameters of the distribution, the outer variable.
        anchor: the policy to which this round is held.
        start: weights of a cold start.
        inner_state: state of the inner optimizer.
        outer_state: state of the outer optimizer.
        key: random key of the steps to come.
        count: number of steps taken in this round.
        round: number of rounds completed.
        valid_loss: last validation loss, infinite before the first outer step.
    """

    weights: Params
    policy: Params
    anchor: Params
    start: Params
    inner_state: Any
    outer_state: Any
    key: Key[Array, ""]
    count: IntScalar
    round: IntScalar
    valid_loss: Scalar


class DistributionBilevelRecord(eqx.Module):
    """What `DistributionBilevel.run` records.

    Attributes:
        policy: the policy at the end of each round, with the leading axis `rounds`.
        valid_loss: validation losses (rounds, outer_steps).
    """

    policy: Params
    valid_loss: Float[Array, "rounds outer_steps"]
