import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import concrete, require_nonnegative
from ._matrix_mechanism import square_root_coefficients, Toeplitz


class Banded(Toeplitz):
    """A Toeplitz matrix of few diagonals, streamed with one copy of the parameters for each but the first.

    An example whose participations are as far apart as the bandwidth moves each part of the stream once, so that k of
    them cost sqrt(k). Bandwidth 1 is independent noise, bandwidth `steps` is `SquareRootToeplitz`.

    Choquette-Choo, Ganesh, McKenna, McMahan, Rush, Thakurta and Xu, "(Amplified) banded matrix factorization: a unified
    approach to private training", 2023.

    Args:
        coefficients: the bandwidth, for the first coefficients of `SquareRootToeplitz`; or the diagonals themselves
            (bandwidth,), none negative and the first positive.

    Raises:
        ValueError: if there is no coefficient, one is negative, or the first is zero.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.privacy.Banded(2).strategy(3))
        [[1.  0.  0. ]
         [0.5 1.  0. ]
         [0.  0.5 1. ]]
    """

    coefficients: Float[Array, " bandwidth"]

    def __init__(self, coefficients: int | ArrayLike):
        if isinstance(coefficients, int):
            if coefficients < 1:
                raise ValueError(f"the bandwidth must be at least 1, got {coefficients}.")
            coefficients = square_root_coefficients(coefficients)
        self.coefficients = _tree.setting(coefficients)
        if self.coefficients.ndim != 1 or not self.coefficients.size:
            raise ValueError(f"coefficients must have shape (bandwidth,), got {self.coefficients.shape}.")
        require_nonnegative(self.coefficients, "coefficients")
        known = concrete(self.coefficients)
        if known is not None and not (np.isfinite(known).all() and known[0] > 0):
            raise ValueError(f"coefficients must be finite and the first positive, got {known}.")

    def coefficients_of(self, steps: int) -> Float[Array, " bandwidth"]:
        return self.coefficients[: max(steps, 1)] if steps < self.coefficients.size else jnp.asarray(self.coefficients)
