import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._mixing_model import AbstractMixingModel


class PolynomialPostNonlinear(AbstractMixingModel):
    """The polynomial post-nonlinear model: `y = x + b x * x` of the linear mixture `x = E a`.

    A pixel has one parameter b of either sign, zero for the linear model. See `mix` and `unmix`.

    Args:
        bound: largest `|b|`. Up to 1/2 a pixel grows with its mixture for all reflectances up to one; beyond, a
            negative b makes two mixtures look alike. 0 leaves the linear model.

    Raises:
        ValueError: for a negative `bound`.

    Source: Y. Altmann, A. Halimi, N. Dobigeon, J.-Y. Tourneret, "Supervised nonlinear spectral unmixing using a
    postnonlinear mixing model for hyperspectral imagery", 2012.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[0.8, 0.2], [0.2, 0.6], [0.1, 0.3]])
        >>> model = PolynomialPostNonlinear()
        >>> found = model.unmix(model.mix(endmembers, jnp.array([[0.25], [0.75]]), jnp.array([[-0.2]])), endmembers)
        >>> print(f"{float(found.abundances[0, 0]):.3f} {float(found.diagnostics['parameters'][0, 0]):.3f}")
        0.250 -0.200
    """

    bound: Scalar

    def __init__(self, bound: ArrayLike = 0.5):
        require_nonnegative(bound, "bound")
        self.bound = _tree.setting(bound)

    def num_parameters(self, num_endmembers: int) -> int:
        return 1

    def bounds(self) -> tuple[Scalar, Scalar]:
        return -self.bound, self.bound

    def pixel(
        self, endmembers: Float[Array, "L p"], abundances: Float[Array, " p"], parameters: Float[Array, " q"]
    ) -> Float[Array, " L"]:
        linear = jnp.matmul(endmembers, abundances, precision="highest")
        return linear + parameters[0] * linear**2
