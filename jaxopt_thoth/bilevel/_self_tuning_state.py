from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Key

from .._types import IntScalar, Scalar


class SelfTuningState(eqx.Module):
    """State of `SelfTuning`.

    Attributes:
        model: the network, its weights a function of the hyper-parameters.
        h: hyper-parameters (m,), on the real line.
        raw_scale: scales (m,) of their perturbation before the softplus.
        model_state: state of the optimizer of the weights.
        hyper_state: state of the optimizer of the hyper-parameters.
        scale_state: state of the optimizer of the scales.
        key: random key of the steps to come.
        count: number of training steps taken.
        train_loss: last training loss.
        valid_loss: last validation loss, infinite before the first one.
    """

    model: Any
    h: Float[Array, " m"]
    raw_scale: Float[Array, " m"]
    model_state: Any
    hyper_state: Any
    scale_state: Any
    key: Key[Array, ""]
    count: IntScalar
    train_loss: Scalar
    valid_loss: Scalar


class SelfTuningRecord(eqx.Module):
    """What `SelfTuning.run` records after each of its updates.

    Attributes:
        h: hyper-parameters (num_updates, m).
        scale: scales (num_updates, m) of their perturbation.
        train_loss: training losses (num_updates,).
        valid_loss: validation losses (num_updates,), infinite during the warm-up.
    """

    h: Float[Array, "updates m"]
    scale: Float[Array, "updates m"]
    train_loss: Float[Array, " updates"]
    valid_loss: Float[Array, " updates"]
