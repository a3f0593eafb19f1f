from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import IntScalar, Params
from .._validate import known_leaves
from ._lmo_scion import dual_norms, is_oracle, Oracles, spread_oracles
from ._wide import wide, wide_dtype


class NoiseAdaptiveState(NamedTuple):
    """State of `noise_adaptive`.

    Attributes:
        inner: state of the optimizer.
        previous: the last gradient.
        noise: running mean of the squared dual norm of differences of gradients, one entry a layer.
        factors: what the updates of the last step were multiplied by, one entry a layer.
        num_steps: number of steps.
    """

    inner: Any
    previous: Params
    noise: Float[Array, " layers"]
    factors: Float[Array, " layers"]
    num_steps: IntScalar


def noise_adaptive(
    optimizer: optax.GradientTransformation,
    oracles: Oracles = None,
    *,
    scale: ArrayLike = 1.0,
    decay: ArrayLike = 0.9,
    groups: Params | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Noise-adaptive layerwise rates around an optimizer: layers with noisier gradients take smaller steps (LANTON).

    For each layer l, an array of the weights, with the dual norm of its oracle:
    `H_l <- decay * H_l + (1 - decay) |G_l - G'_l|_*^2`, `a_l = scale / sqrt(scale^2 + H_l)`, and its update is
    multiplied by `sqrt(a_l / max a)`, the maximum over its group. So the quietest layer of each group keeps its rate,
    layers of equal noise keep theirs, and no rate grows. G' is the gradient of the step before, or, better (for then
    the mean of H is twice the variance), one of a second batch: `update(g, state, params, second_gradient=g2)`.

    The oracles, those of `scion` by default, are what noise is measured by; the optimizer may be `scion(rate, oracles)`
    or `optax.contrib.muon(rate)`. All that it adds to the updates is scaled, its weight decay too.

    Published are the estimate of the noise in the dual norm of the oracle, its two forms, rates by group, and smaller
    steps for noisier layers; the square roots above are taken from a secondary source. Choices of this library: the
    first step, without a gradient before it, adds nothing to H; dual norms of spectral balls follow the method of the
    oracle; groups are by kind of oracle.

    J. Hao, X. Gong, J. Xu, Z. Wang and M. Liu, "Noise-adaptive layerwise learning rates: accelerating geometry-aware
    optimization for deep neural network training", 2025.

    Args:
        optimizer: the optimizer whose updates are scaled.
        oracles: as in `scale_by_lmo`.
        scale: noise, in the units of the dual norms, from which on rates fall; positive.
        decay: of the running mean of the noise, in [0, 1).
        groups: a pytree prefix of the weights with a label for each group of layers; by default layers belong together
            that have oracles of one kind.

    Raises:
        TypeError: if `optimizer` is no gradient transformation, or for an oracle that is none.
        ValueError: if a setting is out of range or a pytree does not fit.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> optimizer = jt.gradients.noise_adaptive(optax.sgd(1.0), jt.gradients.L2LMO(), decay=0.0)
        >>> weights = {"quiet": jnp.ones(1), "noisy": jnp.ones(1)}
        >>> state = optimizer.init(weights)
        >>> gradient = {"quiet": jnp.ones(1), "noisy": jnp.full(1, 5.0)}
        >>> updates, state = optimizer.update(gradient, state, weights, second_gradient=weights)
        >>> print(updates["quiet"], updates["noisy"].round(3))
        [-1.] [-2.462]
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"optimizer must be an optax.GradientTransformation, got {type(optimizer).__name__}.")
    for known in known_leaves(scale):
        if known.ndim or not known > 0:
            raise ValueError(f"scale must be a positive number, got {known}; try the size of typical gradient noise.")
    for known in known_leaves(decay):
        if known.ndim or not 0 <= known < 1:
            raise ValueError(f"decay must be a number in [0, 1), got {known}.")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Params) -> NoiseAdaptiveState:
        spread_oracles(oracles, params)
        _labels(oracles, groups, params)
        layers = len(jax.tree.leaves(params))
        dtype = wide_dtype(_tree.dtype_of(params))
        previous = optax.tree.zeros_like(params)
        zeros, ones = jnp.zeros(layers, dtype), jnp.ones(layers, dtype)
        return NoiseAdaptiveState(inner.init(params), previous, zeros, ones, jnp.zeros((), jnp.int32))

    def update(
        updates: Params,
        state: NoiseAdaptiveState,
        params: Params = None,
        *,
        second_gradient: Params | None = None,
        **extra: Any,
    ) -> tuple[Params, NoiseAdaptiveState]:
        dtype = state.noise.dtype
        other = state.previous if second_gradient is None else second_gradient
        differences = dual_norms(oracles, jax.tree.map(lambda a, b: wide(a) - wide(b), updates, other))
        squares = jnp.stack([size.astype(dtype) for size in differences]) ** 2
        known = jnp.asarray(second_gradient is not None) | (state.num_steps > 0)
        kept = jnp.asarray(decay).astype(dtype)
        noise = jnp.where(known, kept * state.noise + (1 - kept) * squares, state.noise)
        level = jnp.asarray(scale).astype(dtype)
        # Divided by the scale, so that neither is squared alone.
        rates = 1 / jnp.sqrt(1 + noise / level / level)
        labels = _labels(oracles, groups, updates)
        group = jnp.asarray([labels.index(label) for label in labels])
        factors = jnp.sqrt(rates / jax.ops.segment_max(rates, group, len(labels))[group])
        raw, inner_state = inner.update(updates, state.inner, params, **extra)
        leaves, structure = jax.tree.flatten(raw)
        scaled = [factor.astype(leaf.dtype) * leaf for factor, leaf in zip(factors, leaves, strict=True)]
        new = NoiseAdaptiveState(inner_state, updates, noise, factors, optax.safe_increment(state.num_steps))
        return jax.tree.unflatten(structure, scaled), new

    return optax.GradientTransformationExtraArgs(init, update)


def _labels(oracles: Oracles, groups: Params | None, updates: Params) -> list[Hashable]:
    if groups is not None:
        return jax.tree.leaves(_tree.spread(groups, updates, "groups"))
    return [type(oracle).__name__ for oracle in jax.tree.leaves(spread_oracles(oracles, updates), is_leaf=is_oracle)]
