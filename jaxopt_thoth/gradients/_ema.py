from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Params
from ._ema_decay import AbstractDecay, ConstantDecay
from ._wide import wide


class EMAState(NamedTuple):
    """State of `with_ema`.

    Attributes:
        inner: state of the optimizer.
        average: the debiased averages; with k decays each leaf has a leading axis of length k.
        weight: share of the averages that weights from training have, shape () or (k,).
        num_steps: number of steps.
    """

    inner: Any
    average: Params
    weight: Array
    num_steps: IntScalar


def with_ema(
    optimizer: optax.GradientTransformation,
    decay: ArrayLike | Callable[[ArrayLike], ArrayLike] = 0.999,
    *,
    debias: bool = True,
    every: int = 1,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that also keeps an exponential moving average of the weights, or several at once.

    The optimizer itself is untouched: `ema_params(state)` is the average `m_t = b_t m_{t-1} + (1 - b_t) w_t` of the
    weights after the updates. Debiased (the default) it starts from nothing, is the first weights at first, and gives
    `w_s` the weight `(1 - b) b^(t - s) / (1 - b^t)`; else it starts from the initial weights. It is kept as a mean that
    moves by a share of the difference, so that constant weights are reproduced exactly; in float32 at least, whatever
    the dtype of the weights, since a decay of 0.999 does not move an average in bfloat16.

    Averaging shrinks the noise of the weights as a decaying step size would (`ema_variance_ratio`), and so pays most
    at constant or large step sizes; what it pays is to be seen from several decays, and statistics of batch
    normalization have to be recomputed for the averages. The wrapper has to be the outermost one, since it takes
    `params + updates` for the next weights.

    B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by averaging", 1992; D. Morales-Brotons,
    T. Vogels and H. Hendrikx, "Exponential moving average of weights in deep learning: dynamics and benefits", 2024.

    Args:
        optimizer: any optax gradient transformation.
        decay: a number in [0, 1); a vector (k,) for k averages at once; a schedule of the number of averages, counted
            from 1: `WarmupDecay`, `PowerDecay` or a function.
        debias: whether the initial weights have no part in the average.
        every: number of steps from one average to the next; `ema_decay_every` adapts the decay.

    Raises:
        TypeError: if `optimizer` is no gradient transformation.
        ValueError: if a setting is out of range; when `update` gets no `params`.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> optimizer = jt.gradients.with_ema(optax.sgd(0.5), decay=jnp.array([0.5, 0.9]))
        >>> weights = jnp.array([4.0])
        >>> state = optimizer.init(weights)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(weights, state, weights)
        ...     weights = optax.apply_updates(weights, updates)
        >>> print(weights, jt.gradients.ema_params(state).round(3))
        [1.] [[1.333]
         [1.474]]
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"optimizer must be an optax.GradientTransformation, got {type(optimizer).__name__}.")
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"every must be a whole number of steps from 1 up, got {every!r}.")
    inner = optax.with_extra_args_support(optimizer)
    schedule = decay if callable(decay) else ConstantDecay(decay)

    def gain_at(count: ArrayLike) -> Array:
        gain = schedule.gain(count) if isinstance(schedule, AbstractDecay) else 1 - jnp.asarray(schedule(count))
        if gain.ndim > 1:
            raise ValueError(f"decay must return a number or a vector of them, got the shape {gain.shape}.")
        return gain

    def init(params: Params) -> EMAState:
        shape = jax.eval_shape(gain_at, jnp.ones((), jnp.int32)).shape
        average = jax.tree.map(lambda leaf: jnp.broadcast_to(wide(leaf), (*shape, *jnp.shape(leaf))), params)
        real = jnp.finfo(_tree.dtype_of(average)).dtype
        weight = jnp.full(shape, 0.0 if debias else 1.0, real)
        return EMAState(inner.init(params), average, weight, jnp.zeros((), jnp.int32))

    def update(updates: Params, state: EMAState, params: Params = None, **extra: Any) -> tuple[Params, EMAState]:
        if params is None:
            raise ValueError("with_ema averages the weights: pass them, update(gradients, state, params).")
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        count = optax.safe_increment(state.num_steps)

        def move() -> tuple[Params, Array]:
            gain = gain_at(count // every).astype(state.weight.dtype)
            weight = state.weight + gain * (1 - state.weight)
            share = jnp.where(weight > 0, gain / jnp.where(weight > 0, weight, 1), 0)
            latest = optax.apply_updates(params, updates)
            return jax.tree.map(lambda mean, leaf: _towards(mean, leaf, share), state.average, latest), weight

        average, weight = jax.lax.cond(count % every == 0, move, lambda: (state.average, state.weight))
        return updates, EMAState(inner_state, average, weight, count)

    return optax.GradientTransformationExtraArgs(init, update)


def ema_params(state: Any, like: Params | None = None) -> Params:
    """The averaged weights in the state of an optimizer that `with_ema` made, wherever in it they are.

    Before the first average they are the initial weights. The statistics of batch normalization, if there are any,
    are not among them, and have to be recomputed.

    Args:
        state: the state; it may be a part of a larger one, as of `optax.chain`.
        like: weights whose dtypes the averages shall have, in place of float32 or more.

    Returns:
        A pytree as the weights; with k decays each leaf has a leading axis of length k.

    Raises:
        ValueError: if there is no average in the state, or more than one.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> state = jt.gradients.with_ema(optax.adam(1e-3)).init(jnp.array([1.0, 2.0]))
        >>> print(jt.gradients.ema_params(state))
        [1. 2.]
    """
    is_average = lambda leaf: isinstance(leaf, EMAState)
    found = [leaf for leaf in jax.tree.leaves(state, is_leaf=is_average) if is_average(leaf)]
    if len(found) != 1:
        raise ValueError(
            f"state must hold one average of weights, got {len(found)}; pass the state of an optimizer that "
            "with_ema(optimizer, decay) made."
        )
    average = found[0].average
    return average if like is None else jax.tree.map(lambda a, b: a.astype(jnp.result_type(b)), average, like)


def _towards(mean: Array, leaf: Array, share: Array) -> Array:
    """`mean` moved by a share of the way to `leaf`: exactly nowhere if they agree, exactly there for a share of one."""
    latest = jnp.broadcast_to(leaf.astype(mean.dtype), mean.shape)
    if not jnp.issubdtype(mean.dtype, jnp.inexact):
        return latest
    part = jnp.broadcast_to(share.reshape(share.shape + (1,) * leaf.ndim), mean.shape).astype(mean.dtype)
    return jnp.where(part == 1, latest, mean + part * (latest - mean))
