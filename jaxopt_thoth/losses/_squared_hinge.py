import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from ._base import AbstractLoss
from ._domain import finite_where, require_signs, slack


class SquaredHinge(AbstractLoss):
    """Half the squared hinge, `max(0, 1 - target * score)^2 / 2`, of targets -1 or +1.

    Scores and targets have the same shape. Peers that leave out the half need twice our data weight.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> float(losses.SquaredHinge()(jnp.array(-1.0), jnp.array(1)))
        2.0
    """

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        return 0.5 * jax.nn.relu(1 - _tree.match(target, score) * score) ** 2

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(1.0)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        sign = _tree.match(target, score)
        return -sign * jax.nn.relu(1 - sign * score)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        aligned = _tree.match(target, dual) * dual
        return finite_where(aligned <= slack(dual), dual * (0.5 * dual) + aligned)

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_signs(targets, "SquaredHinge")
