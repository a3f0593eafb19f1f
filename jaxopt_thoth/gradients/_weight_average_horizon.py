"""How far an exponential average looks back, and what it gains: rules for choosing a decay."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._validate import known_leaves, require_positive
from ._ema_decay import decay_setting


def ema_window(decay: ArrayLike) -> Array:
    """Mean number of averages that an exponential average looks back, `1 / (1 - decay)`, the newest counted as 1.

    Raises `ValueError` for a decay outside of [0, 1).

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.gradients.ema_window(0.75))
        4.0
    """
    return 1 / (1 - decay_setting(decay))


def ema_half_life(decay: ArrayLike) -> Array:
    """Number of averages after which a weight has lost half of its influence, `log 2 / -log decay`.

    Raises `ValueError` for a decay outside of [0, 1).

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(f"{jt.gradients.ema_half_life(0.999):.1f}")
        692.8
    """
    beta = decay_setting(decay)
    return jnp.where(beta > 0, -jnp.log(2.0) / jnp.log(jnp.where(beta > 0, beta, 0.5)), 0)


def ema_decay_from_half_life(half_life: ArrayLike) -> Array:
    """Decay of the exponential average with a given half-life, `2^(-1 / half_life)`.

    Raises `ValueError` for a half-life that is not positive.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(f"{jt.gradients.ema_decay_from_half_life(2.0):.4f}")
        0.7071
    """
    require_positive(half_life, "half_life")
    return jnp.exp2(-1 / _tree.setting(half_life))


def ema_decay_every(decay: ArrayLike, every: ArrayLike) -> Array:
    """Decay of an average taken every few steps that forgets as fast as `decay` at each step, `decay^every`.

    Raises `ValueError` for a decay outside of [0, 1), or a number of steps that is not positive.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(f"{jt.gradients.ema_decay_every(0.999, 16):.4f}")
        0.9841
    """
    require_positive(every, "every")
    beta = decay_setting(decay)
    return beta ** _tree.match(every, beta)


def ema_lag(decay: ArrayLike) -> Array:
    """Number of averages by which the average of drifting weights lags behind them, `decay / (1 - decay)`.

    Times the drift of one step it is the bias of the average, to be weighed against `ema_variance_ratio`.
    Raises `ValueError` for a decay outside of [0, 1).

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.gradients.ema_lag(0.75))
        3.0
    """
    beta = decay_setting(decay)
    return beta / (1 - beta)


def ema_weights(decay: ArrayLike, length: int) -> Array:
    """Weights that a debiased exponential average gives to the weights of the steps 1 to `length`, which sum to one.

    `(1 - decay) decay^(t - s) / (1 - decay^t)` for the step s of t. Raises `ValueError` for a decay that is no number
    in [0, 1), or a length below 1.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.gradients.ema_weights(0.5, 2).round(4))
        [0.3333 0.6667]
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}.")
    beta = decay_setting(decay)
    if beta.ndim:
        raise ValueError(f"decay must be one number here, got the shape {beta.shape}; use jax.vmap for several.")
    powers = beta ** jnp.arange(length - 1, -1, -1).astype(beta.dtype)
    return powers / jnp.sum(powers)


def ema_variance_ratio(decay: ArrayLike, contraction: ArrayLike) -> Array:
    """Variance of the average of weights over that of the weights, for stochastic gradients on a quadratic.

    On `curvature / 2 |w|^2` with white gradient noise and a constant step size the weights are an autoregression with
    the contraction `rho = 1 - step_size * curvature`; at stationarity the ratio is
    `(1 - b)(1 + rho b) / ((1 + b)(1 - rho b))`. For `1 - b` far below `1 - rho` it is about
    `(1 - b) / (1 - rho) * (1 + rho) / 2`: averaging does what a decay of the step size would.

    Args:
        decay: in [0, 1).
        contraction: in (-1, 1).

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(f"{jt.gradients.ema_variance_ratio(0.99, contraction=0.9):.4f}")
        0.0872
    """
    for known in known_leaves(contraction):
        if not (abs(known) < 1).all():
            raise ValueError(
                f"contraction must be in (-1, 1), got {known}; a step size times curvature from 2 up diverges."
            )
    beta = decay_setting(decay)
    rho = _tree.setting(contraction).astype(beta.dtype)
    return (1 - beta) * (1 + rho * beta) / ((1 + beta) * (1 - rho * beta))
