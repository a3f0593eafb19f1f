from jaxtyping import ArrayLike

from ._hyperparameter_interval import Interval


class DropoutRate(Interval):
    """Dropout rates, an `Interval` from zero to at most `highest`.

    Args:
        highest: largest rate, below 1 so that some entries are always left.

    Raises:
        ValueError: if `highest` is negative; from `inverse`, if a value is outside of the open interval.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> print(bilevel.DropoutRate()(jnp.zeros(2)))
        [0.45 0.45]
    """

    def __init__(self, highest: ArrayLike = 0.9):
        super().__init__(0.0, highest)
