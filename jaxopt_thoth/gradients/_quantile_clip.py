import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from .. import _tree
from .._types import Params, Scalar
from .._validate import known_leaves, require_nonnegative, require_positive
from ._abstract_clipping import tree_norm
from ._global_clip import GlobalClip


class QuantileClipState(eqx.Module):
    """State of `QuantileClip`: the level for the next batch, and the key of the noise of its count."""

    max_norm: Scalar
    key: Key[Array, ""]


class QuantileClip(eqx.Module):
    """Clipping at a level that follows a quantile of the norms of the gradients, seen through a noisy count.

    After each batch `max_norm <- max_norm * exp(-rate * (b - quantile))`, where b is the share of norms of at most
    `max_norm`, from a count of plus and minus one half with Gaussian noise of standard deviation `count_noise`. That
    count is a private release of its own: to keep the noise multiplier of both together, the sum of gradients needs the
    larger one of `gradient_multiplier`. Examples of a norm that is not finite are not counted.

    By hand: `init`, then for each batch `rule(state)`, and `update(state, norms)` with the norms before clipping.
    `as_optax` does so with a batch of gradients.

    Args:
        batch_size: scalar, the number of examples that shares refer to; for Poisson sampling the expected one (the
            number that was drawn is not public), under sharding that of all shards.
        quantile: scalar between 0 and 1.
        rate: scalar, the step size in the logarithm of the level.
        initial_norm: scalar, the first level.
        count_noise: scalar; None for `batch_size / 20`. 0 is not private.
        axis_name: mapped axis, or axes, over which the examples are sharded; the key is to be the same on each shard.

    Raises:
        ValueError: if a known setting is out of range.

    Andrew et al., "Differentially private learning with adaptive clipping", 2021.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> clip = gradients.QuantileClip(batch_size=3, rate=1.0, initial_norm=1.0, count_noise=0.0)
        >>> state = clip.update(clip.init(jax.random.key(0)), jnp.array([2.0, 3.0, 4.0]))
        >>> print(state.max_norm.round(4))  # exp(1 / 2): none of the norms is below 1, and half of them should be
        1.6487
    """

    batch_size: Scalar
    quantile: Scalar
    rate: Scalar
    initial_norm: Scalar
    count_noise: Scalar
    axis_name: str | tuple[str, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        batch_size: ArrayLike,
        *,
        quantile: ArrayLike = 0.5,
        rate: ArrayLike = 0.2,
        initial_norm: ArrayLike = 0.1,
        count_noise: ArrayLike | None = None,
        axis_name: str | tuple[str, ...] | None = None,
    ):
        require_positive(batch_size, "batch_size")
        require_nonnegative(rate, "rate")
        require_positive(initial_norm, "initial_norm")
        for known in known_leaves(quantile):
            if not 0 <= known <= 1:
                raise ValueError(f"quantile must be between 0 and 1, got {known}; 0.5 is the median.")
        if count_noise is not None:
            require_nonnegative(count_noise, "count_noise")
        self.batch_size = _tree.setting(batch_size)
        self.quantile = _tree.setting(quantile)
        self.rate = _tree.setting(rate)
        self.initial_norm = _tree.setting(initial_norm)
        self.count_noise = self.batch_size / 20 if count_noise is None else _tree.setting(count_noise)
        self.axis_name = axis_name

    def init(self, key: Key[Array, ""]) -> QuantileClipState:
        """The state before the first batch."""
        return QuantileClipState(self.initial_norm, key)

    def rule(self, state: QuantileClipState) -> GlobalClip:
        """The clipping rule for the next batch."""
        return GlobalClip(state.max_norm)

    def update(
        self, state: QuantileClipState, norms: Float[Array, " n"], mask: Bool[Array, " n"] | None = None
    ) -> QuantileClipState:
        """The state after a batch of unclipped norms, of which those outside of `mask` are padding."""
        level = state.max_norm
        norms = norms.astype(level.dtype)
        counted = jnp.isfinite(norms) if mask is None else jnp.isfinite(norms) & mask
        # Counting from -1/2 to 1/2 instead of from 0 to 1 halves the sensitivity.
        count = jnp.sum(jnp.where(counted, jnp.where(norms <= level, 0.5, -0.5), 0).astype(level.dtype))
        if self.axis_name is not None:
            count = jax.lax.psum(count, self.axis_name)
        key, noise_key = jax.random.split(state.key)
        count = count + self.count_noise.astype(level.dtype) * jax.random.normal(noise_key, (), level.dtype)
        share = count / self.batch_size.astype(level.dtype) + 0.5
        quantile, rate = self.quantile.astype(level.dtype), self.rate.astype(level.dtype)
        return QuantileClipState(level * jnp.exp(-rate * (share - quantile)), key)

    def gradient_multiplier(self, noise_multiplier: ArrayLike) -> Scalar:
        """Noise multiplier for the sum of gradients that, together with the count, costs what `noise_multiplier` does.

        It is z_g with `1 / z^2 = 1 / z_g^2 + 1 / (2 count_noise)^2`, where the multiplier z is the standard deviation
        of the noise in units of the sensitivity, and neighbors move the count by one half (`add_or_remove_one`,
        `replace_special`). Raises `ValueError` where `count_noise` is known to be too small for any z_g.
        """
        require_nonnegative(noise_multiplier, "noise_multiplier")
        total = _tree.setting(noise_multiplier)
        count = 2 * self.count_noise.astype(total.dtype)
        for spare in known_leaves(jnp.where(total > 0, count - total, 1)):
            if not np.all(spare > 0):
                raise ValueError(
                    f"count_noise must exceed noise_multiplier / 2, got {self.count_noise} for {noise_multiplier}; the "
                    "count alone would spend more than the whole budget."
                )
        spent = jnp.where(total > 0, total / jnp.where(total > 0, count, 1), 0)
        return total / jnp.sqrt(1 - spent**2)

    def as_optax(self, key: Key[Array, ""]) -> optax.GradientTransformationExtraArgs:
        """The transformation that clips each gradient of a batch, leading axis n, and takes a `mask` of shape (n,).

        What comes back has the batch axis still: sum it and add the noise. Masked examples contribute zero.
        """

        def init(params: Params) -> QuantileClipState:
            return self.init(key)

        def update(updates, state, params=None, *, mask=None, **extra_args):
            norms = jax.vmap(tree_norm)(updates)
            clipped = jax.vmap(self.rule(state))(updates)
            if mask is not None:
                clipped = jax.vmap(_tree.where)(mask, clipped, _tree.zeros_like(clipped))
            return clipped, self.update(state, norms, mask)

        return optax.GradientTransformationExtraArgs(init, update)
