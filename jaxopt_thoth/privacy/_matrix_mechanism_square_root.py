import jax.numpy as jnp
from jaxtyping import Array, Float

from ._matrix_mechanism import square_root_coefficients, Toeplitz


class SquareRootToeplitz(Toeplitz):
    """The square root of the matrix of running sums: C = B = A^(1/2), with the coefficients 1, 1/2, 3/8, 5/16, ...

    Its squared sensitivity and the squared rows of its decoder both grow as log(steps) / pi, and no factorization has
    an error of a better rate. Streaming keeps all noise, `steps - 1` copies of the parameters; `Banded` keeps
    as many as it is told to.

    Fichtenberger, Henzinger and Upadhyay, "Constant matters: fine-grained complexity of differentially private
    continual observation", 2023.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.privacy.SquareRootToeplitz().strategy(3))
        [[1.    0.    0.   ]
         [0.5   1.    0.   ]
         [0.375 0.5   1.   ]]
    """

    def coefficients_of(self, steps: int) -> Float[Array, " bandwidth"]:
        return jnp.asarray(square_root_coefficients(steps), jnp.result_type(float))
