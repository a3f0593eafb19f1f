import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import known_leaves
from ._ema_decay import AbstractDecay, count_of


class PowerDecay(AbstractDecay):
    """The decay `(1 - 1/t)^(power + 1)` at the t-th average: weights in proportion to `s^power`, at every length.

    Each average is as wide as a fixed share of the training so far (`width_from_power`), and its first decay is zero,
    so that nothing is to be debiased. The power 0 is the uniform average of Polyak and Ruppert; with a `start` it is
    that of the tail.

    T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila and S. Laine, "Analyzing and improving the training
    dynamics of diffusion models", 2024; B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by
    averaging", 1992.

    Args:
        power: above -1; a scalar, or a vector for several averages at once.
        start: number of averages before those that count.

    Raises:
        ValueError: if a setting is out of range.

    Example:
        >>> import jaxopt_thoth as jt
        >>> uniform = jt.gradients.PowerDecay(0.0)
        >>> print([round(float(uniform(t)), 3) for t in (1, 2, 3, 4)])
        [0.0, 0.5, 0.667, 0.75]
    """

    power: Array
    start: Scalar

    def __init__(self, power: ArrayLike = 0.0, start: ArrayLike = 0):
        require_power(power, "power")
        for known in known_leaves(start):
            if known.ndim or not known >= 0:
                raise ValueError(f"start must be a number of averages, at least 0, got {known}.")
        self.power = _tree.setting(power)
        self.start = _tree.setting(start)

    def gain(self, count: ArrayLike) -> Array:
        age = count_of(count) - self.start.astype(jnp.result_type(float))
        # The logarithm of zero is infinite, and so is its derivative.
        begins = age <= 1
        rest = jnp.log1p(-1 / jnp.where(begins, 2, age)).astype(self.power.dtype)
        return jnp.where(begins, 1, -jnp.expm1((self.power + 1) * rest))


def require_power(power: ArrayLike, name: str) -> None:
    for known in known_leaves(power):
        if known.ndim > 1 or not (known > -1).all():
            raise ValueError(
                f"{name} must be above -1, one number or a vector of them, got {known}; 0 weighs all steps alike, and "
                "larger powers favor late ones."
            )
