import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params
from .._validate import require_nonnegative
from ..gradients._wide import wide_dtype


class NoiseState(eqx.Module):
    """State of a transformation that adds noise.

    Attributes:
        key: the random key of the whole run; step t draws from `jax.random.fold_in(key, t)`.
        count: number of draws made.
    """

    key: Key[Array, ""]
    count: IntScalar


def gaussian_noise(
    noise_multiplier: ArrayLike, sensitivity: ArrayLike, key: Key[Array, ""]
) -> optax.GradientTransformation:
    """Gaussian mechanism as an optax transformation: every entry gets noise of the same deviation.

    The deviation is `noise_multiplier * sensitivity`, and the place is behind the clipped sum, before any division by
    the batch size: `sensitivity` is how far that sum moves between neighboring data sets, in the Euclidean norm over
    the whole pytree. Noise is drawn and added in float32 at least, and the sum is rounded to the dtype of the leaf
    afterwards. A key serves one run: two runs with the same key have the same noise, which their difference takes away.

    Dwork and Roth, "The algorithmic foundations of differential privacy", 2014.

    Args:
        noise_multiplier: deviation of the noise over the sensitivity, at least zero.
        sensitivity: bound on the change of the input, for example `clipping.sensitivity(relation)`.
        key: random key of the run.

    Raises:
        ValueError: if a number is negative, or `key` is not a random key.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> mechanism = jt.privacy.gaussian_noise(2.0, 1.5, jax.random.key(0))
        >>> clipped_sum = {"w": jnp.zeros(10_000)}
        >>> noisy, state = mechanism.update(clipped_sum, mechanism.init(clipped_sum))
        >>> print(f"{jnp.std(noisy['w']):.1f}", state.count)
        3.0 1
    """
    require_nonnegative(noise_multiplier, "noise_multiplier")
    require_nonnegative(sensitivity, "sensitivity")
    require_key(key)
    scale = _tree.setting(noise_multiplier) * _tree.setting(sensitivity).astype(_tree.setting(noise_multiplier).dtype)

    def init(params: Params) -> NoiseState:
        return NoiseState(key=key, count=jnp.zeros((), jnp.int32))

    def update(updates: Params, state: NoiseState, params: Params | None = None) -> tuple[Params, NoiseState]:
        noise = normal_like(jax.random.fold_in(state.key, state.count), updates)
        return add_noise(updates, scale, noise), NoiseState(key=state.key, count=state.count + 1)

    return optax.GradientTransformation(init, update)


def require_key(key: Key[Array, ""], name: str = "key") -> None:
    """Raise `ValueError` unless `key` is one typed random key."""
    if not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key) or jnp.shape(key) != ():
        raise ValueError(f"{name} must be one random key, got {type(key).__name__}; pass jax.random.key(0).")


def normal_like(key: Key[Array, ""], tree: Params) -> Params:
    """Standard normal draws in the shapes of a pytree, in float32 at least: a coarse grid tells what it should hide."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    draw = lambda k, leaf: jax.random.normal(k, jnp.shape(leaf), wide_dtype(leaf.dtype))
    return jax.tree.unflatten(structure, [draw(k, leaf) for k, leaf in zip(keys, leaves, strict=False)])


def add_noise(tree: Params, scale: Array, noise: Params) -> Params:
    """`tree + scale * noise`, added in the dtype of the noise and rounded to that of the tree."""
    return jax.tree.map(lambda a, z: (a.astype(z.dtype) + scale.astype(z.dtype) * z).astype(a.dtype), tree, noise)
