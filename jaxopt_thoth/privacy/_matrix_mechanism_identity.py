import jax.numpy as jnp
from jaxtyping import Array, Float

from ._matrix_mechanism import Toeplitz


class Identity(Toeplitz):
    """Independent noise in every step, C = I: what private stochastic gradient descent adds.

    The noise in a running sum of t gradients grows as sqrt(t), and an example that takes part k times moves the stream
    by sqrt(k).

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.privacy.Identity().sensitivity(100, participations=4, separation=25))
        2.0
    """

    def coefficients_of(self, steps: int) -> Float[Array, " bandwidth"]:
        return jnp.ones(1)
