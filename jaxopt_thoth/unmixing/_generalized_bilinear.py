import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._bilinear import bilinear_pixel
from ._mixing_model import AbstractMixingModel


class GeneralizedBilinear(AbstractMixingModel):
    """The generalized bilinear model: `y = E a + sum_{i<j} g_ij a_i a_j e_i * e_j` with `0 <= g_ij <= 1`.

    Between the linear model (all g at 0) and that of `Fan` (at 1). A pixel has p (p - 1) / 2 parameters, the g_ij in
    the order (1, 2), (1, 3), ..., (2, 3), ...; one whose materials do not both occur is free, and stays where it
    was. See `mix` and `unmix`.

    Args:
        upper: largest g_ij; 0 leaves the linear model.

    Raises:
        ValueError: for a negative `upper`.

    Source: A. Halimi, Y. Altmann, N. Dobigeon, J.-Y. Tourneret, "Nonlinear unmixing of hyperspectral images using a
    generalized bilinear model", 2011.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[0.8, 0.2], [0.2, 0.6], [0.1, 0.3]])
        >>> model = GeneralizedBilinear()
        >>> found = model.unmix(model.mix(endmembers, jnp.array([[0.25], [0.75]]), jnp.array([[0.5]])), endmembers)
        >>> print(f"{float(found.abundances[0, 0]):.3f} {float(found.diagnostics['parameters'][0, 0]):.3f}")
        0.250 0.500
    """

    upper: Scalar

    def __init__(self, upper: ArrayLike = 1.0):
        require_nonnegative(upper, "upper")
        self.upper = _tree.setting(upper)

    def num_parameters(self, num_endmembers: int) -> int:
        return num_endmembers * (num_endmembers - 1) // 2

    def bounds(self) -> tuple[Scalar, Scalar]:
        return jnp.zeros_like(self.upper), self.upper

    def pixel(
        self, endmembers: Float[Array, "L p"], abundances: Float[Array, " p"], parameters: Float[Array, " q"]
    ) -> Float[Array, " L"]:
        return bilinear_pixel(endmembers, abundances, parameters)
