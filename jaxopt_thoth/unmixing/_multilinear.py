import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._types import Scalar
from ._mixing_model import AbstractMixingModel


class Multilinear(AbstractMixingModel):
    """The multilinear model, `y = (1 - P) x / (1 - P x)` of `x = E a`: reflections of every order.

    P is the probability that light meets a further material after each one; a pixel has this one parameter, zero for
    the linear model. Reflectances are at most one. See `mix` and `unmix`.

    Args:
        lower: least P, at most 0; a negative P lets a pixel be brighter than its linear mixture.
        upper: largest P, between 0 and 1; both bounds at 0 leave the linear model.

    Raises:
        ValueError: for bounds out of range.

    Source: R. Heylen, P. Scheunders, "A multilinear mixing model for nonlinear spectral unmixing", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[0.8, 0.2], [0.2, 0.6], [0.1, 0.3]])
        >>> model = Multilinear()
        >>> found = model.unmix(model.mix(endmembers, jnp.array([[0.25], [0.75]]), jnp.array([[0.4]])), endmembers)
        >>> print(f"{float(found.abundances[0, 0]):.3f} {float(found.diagnostics['parameters'][0, 0]):.3f}")
        0.250 0.400
    """

    lower: Scalar
    upper: Scalar

    def __init__(self, lower: ArrayLike = 0.0, upper: ArrayLike = 0.99):
        low, high = _validate.concrete(lower), _validate.concrete(upper)
        if low is not None and not np.all(low <= 0):
            raise ValueError(f"lower must be at most 0, the linear model, got {low}.")
        if high is not None and not np.all((high >= 0) & (high < 1)):
            raise ValueError(f"upper must be at least 0 and below 1, got {high}.")
        self.lower = _tree.setting(lower)
        self.upper = _tree.setting(upper)

    def num_parameters(self, num_endmembers: int) -> int:
        return 1

    def bounds(self) -> tuple[Scalar, Scalar]:
        return self.lower, self.upper

    def pixel(
        self, endmembers: Float[Array, "L p"], abundances: Float[Array, " p"], parameters: Float[Array, " q"]
    ) -> Float[Array, " L"]:
        linear = jnp.matmul(endmembers, abundances, precision="highest")
        further = parameters[0]
        return (1 - further) * linear / (1 - further * linear)
