import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Key

from .._types import Params
from .._validate import require_nonnegative
from ._gaussian_mechanism import NoiseState, require_key
from ._relative_gaussian import relative_gaussian


def relative_gaussian_noise(
    slope: ArrayLike, offset: ArrayLike, noise_multiplier: ArrayLike, key: Key[Array, ""], *, squared: bool = False
) -> optax.GradientTransformation:
    """Relative Gaussian mechanism as an optax transformation, one release a step: see `relative_gaussian`.

    Args:
        slope: relative sensitivity of the gradient that comes in, at least zero.
        offset: sensitivity of a gradient of norm zero, at least zero.
        noise_multiplier: deviation of the noise over the sensitivity, at least zero.
        key: random key of the run; each step draws from its own.
        squared: whether the sensitivity is given by its square.

    Raises:
        ValueError: if a number is negative, or `key` is not a random key.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt, optax
        >>> noise = jt.privacy.relative_gaussian_noise(0.01, 0.0, 2.0, jax.random.key(0))
        >>> optimizer = optax.chain(noise, optax.sgd(0.5))
        >>> gradient = jnp.ones(10_000)
        >>> update, _ = optimizer.update(gradient, optimizer.init(gradient))
        >>> print(f"{jnp.std(update):.1f}")
        1.0
    """
    for value, name in ((slope, "slope"), (offset, "offset"), (noise_multiplier, "noise_multiplier")):
        require_nonnegative(value, name)
    require_key(key)

    def init(params: Params) -> NoiseState:
        return NoiseState(key=key, count=jnp.zeros((), jnp.int32))

    def update(updates: Params, state: NoiseState, params: Params | None = None) -> tuple[Params, NoiseState]:
        step_key = jax.random.fold_in(state.key, state.count)
        noisy = relative_gaussian(
            step_key, updates, slope=slope, offset=offset, noise_multiplier=noise_multiplier, squared=squared
        )
        return noisy, NoiseState(key=state.key, count=state.count + 1)

    return optax.GradientTransformation(init, update)
