import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import known_leaves


class AbstractDecay(eqx.Module):
    """A decay that varies with the number of averages taken, for `with_ema`.

    Called with that number, from 1, it is a schedule in the sense of optax. The gain is one minus the decay: what
    matters where the decay is close to one, and what a difference would lose in float32.
    """

    @abc.abstractmethod
    def gain(self, count: ArrayLike) -> Array:
        """One minus the decay at the average number `count`, counted from 1."""

    def __call__(self, count: ArrayLike) -> Array:
        return 1 - self.gain(count)


class ConstantDecay(AbstractDecay):
    """The same decay at every average: the weights forget exponentially.

    Args:
        decay: in [0, 1); a scalar, or a vector for several averages at once.

    Raises:
        ValueError: if a decay is out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.ConstantDecay(jnp.array([0.5, 0.75]))(1))
        [0.5  0.75]
    """

    decay: Array

    def __init__(self, decay: ArrayLike):
        self.decay = decay_setting(decay)

    def gain(self, count: ArrayLike) -> Array:
        return 1 - self.decay


class WarmupDecay(AbstractDecay):
    """The decay `min(decay, (1 + t) / (10 + t))` at the t-th average, which forgets the beginning of a training early.

    The rule that TensorFlow's `ExponentialMovingAverage` made common. At the t-th average it looks back over about a
    ninth of the past, until that reaches the window of the decay.

    Args:
        decay: the largest decay, in [0, 1); a scalar, or a vector for several averages at once.

    Raises:
        ValueError: if a decay is out of range.

    Example:
        >>> import jaxopt_thoth as jt
        >>> decay = jt.gradients.WarmupDecay(0.99)
        >>> print([round(float(decay(t)), 3) for t in (1, 10, 100, 10_000)])
        [0.182, 0.55, 0.918, 0.99]
    """

    decay: Array

    def __init__(self, decay: ArrayLike):
        self.decay = decay_setting(decay)

    def gain(self, count: ArrayLike) -> Array:
        ramp: Scalar = 9 / (10 + count_of(count))
        return jnp.maximum(1 - self.decay, ramp.astype(self.decay.dtype))


def count_of(count: ArrayLike) -> Scalar:
    return jnp.asarray(count).astype(jnp.result_type(float))


def decay_setting(decay: ArrayLike) -> Array:
    """A decay, or a vector of them, as a leaf; raises `ValueError` outside of [0, 1)."""
    for known in known_leaves(decay):
        if not ((known >= 0) & (known < 1)).all():
            raise ValueError(f"decay must be in [0, 1), got {known}; 0.999 averages over about a thousand steps.")
    value = _tree.setting(decay)
    if value.ndim > 1:
        raise ValueError(f"decay must be a number or a vector of them, got the shape {value.shape}; flatten it.")
    return value
