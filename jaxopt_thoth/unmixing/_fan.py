import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._bilinear import bilinear_pixel
from ._mixing_model import AbstractMixingModel


class Fan(AbstractMixingModel):
    """The bilinear model of Fan: `y = E a + sum_{i<j} a_i a_j e_i * e_j`, light that met two materials in turn.

    The abundances are on the simplex; a pixel has no further parameters. See `mix` and `unmix`.

    Args:
        interaction: factor on the bilinear terms: 1 is the published model, 0 the linear one.

    Raises:
        ValueError: for a negative `interaction`.

    Source: W. Fan, B. Hu, J. Miller, M. Li, "Comparative study between a new nonlinear model and common linear model
    for analysing laboratory simulated-forest hyperspectral data", 2009.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[0.8, 0.2], [0.2, 0.6], [0.1, 0.3]])
        >>> pixels = Fan().mix(endmembers, jnp.array([[0.25], [0.75]]))
        >>> print([f"{float(a):.3f}" for a in Fan().unmix(pixels, endmembers).abundances.ravel()])
        ['0.250', '0.750']
    """

    interaction: Scalar

    def __init__(self, interaction: ArrayLike = 1.0):
        require_nonnegative(interaction, "interaction")
        self.interaction = _tree.setting(interaction)

    def num_parameters(self, num_endmembers: int) -> int:
        return 0

    def bounds(self) -> tuple[Scalar, Scalar]:
        return jnp.zeros(()), jnp.zeros(())

    def pixel(
        self, endmembers: Float[Array, "L p"], abundances: Float[Array, " p"], parameters: Float[Array, " q"]
    ) -> Float[Array, " L"]:
        return bilinear_pixel(endmembers, abundances, self.interaction.astype(endmembers.dtype))
