import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params
from .._validate import require_nonnegative
from ..gradients._wide import wide_dtype
from ._gaussian_mechanism import add_noise, normal_like, require_key
from ._matrix_mechanism import AbstractMatrixMechanism


class CorrelatedNoiseState(eqx.Module):
    """State of `correlated_noise`.

    Attributes:
        key: the random key of the whole run; step t draws from `jax.random.fold_in(key, t)`.
        count: number of draws made.
        memory: what the stream has to remember of the noise so far.
    """

    key: Key[Array, ""]
    count: IntScalar
    memory: Params


def correlated_noise(
    mechanism: AbstractMatrixMechanism,
    noise_multiplier: ArrayLike,
    sensitivity: ArrayLike,
    key: Key[Array, ""],
    *,
    steps: int,
    participations: int = 1,
    separation: int | None = None,
) -> optax.GradientTransformation:
    """Matrix mechanism as an optax transformation: step t adds row t of `noise_multiplier * sensitivity * C^-1 Z`.

    The whole run, not each step, is one Gaussian mechanism of this noise multiplier, since the deviation holds the
    sensitivity of C as well. It holds for `steps` steps and for examples that come back no sooner and no more often
    than said. With `Identity()` and one participation it is `gaussian_noise`, draw by draw.

    Denisov, McMahan, Rush, Smith and Thakurta, "Improved differential privacy for SGD via optimal private linear
    operators on adaptive streams", 2022.

    Args:
        mechanism: `SquareRootToeplitz()`, `Banded(bandwidth)`, `BinaryTree()` or `Identity()`.
        noise_multiplier: deviation of the white noise over the sensitivity of the whole stream.
        sensitivity: bound on what neighbors change in the input of one step.
        key: random key of the run.
        steps: number of steps of the run.
        participations: number of steps that an example takes part in at most.
        separation: number of steps from one participation to the next.

    Raises:
        TypeError: if `mechanism` is none.
        ValueError: if a number is out of range, or `key` is not a random key.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> noise = jt.privacy.correlated_noise(jt.privacy.BinaryTree(), 1.0, 1.0, jax.random.key(0), steps=8)
        >>> gradient = jnp.zeros(20_000)
        >>> state, total = noise.init(gradient), gradient
        >>> for _ in range(8):
        ...     noisy, state = noise.update(gradient, state)
        ...     total = total + noisy
        >>> print(f"{jnp.std(total):.1f}")  # one node's noise: sqrt(log2(8) + 1)
        2.0
    """
    if not isinstance(mechanism, AbstractMatrixMechanism):
        raise TypeError(
            f"mechanism must be a matrix mechanism, got {type(mechanism).__name__}; pass jt.privacy.Banded(bandwidth)."
        )
    require_nonnegative(noise_multiplier, "noise_multiplier")
    require_nonnegative(sensitivity, "sensitivity")
    require_key(key)
    change = mechanism.sensitivity(steps, participations, separation)
    scale = _tree.match(noise_multiplier, change) * _tree.match(sensitivity, change) * change

    def init(params: Params) -> CorrelatedNoiseState:
        memory = mechanism.init(as_wide(params), steps)
        return CorrelatedNoiseState(key=key, count=jnp.zeros((), jnp.int32), memory=memory)

    def update(
        updates: Params, state: CorrelatedNoiseState, params: Params | None = None
    ) -> tuple[Params, CorrelatedNoiseState]:
        white = normal_like(jax.random.fold_in(state.key, state.count), updates)
        noise, memory = mechanism.correlate(state.memory, state.count, white)
        new = CorrelatedNoiseState(key=state.key, count=state.count + 1, memory=memory)
        return add_noise(updates, scale, noise), new

    return optax.GradientTransformation(init, update)


def as_wide(tree: Params) -> Params:
    """Zeros in the shapes of a pytree, in the dtypes of the noise."""
    return jax.tree.map(lambda a: jnp.zeros(jnp.shape(a), wide_dtype(jnp.asarray(a).dtype)), tree)
