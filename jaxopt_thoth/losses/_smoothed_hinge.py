import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import require_positive
from ._base import AbstractLoss
from ._domain import finite_where, require_signs, slack


class SmoothedHinge(AbstractLoss):
    """Hinge loss whose kink is a parabola of width `gamma`, of targets -1 or +1.

    With margin m = target * score: 0 for m >= 1, `(1-m)^2 / (2 gamma)` for 1 - gamma < m < 1, `1 - m - gamma/2` below.
    Scores and targets have the same shape. Raises `ValueError` unless a known `gamma` is positive.

    Shalev-Shwartz and Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization", 2013.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> float(losses.SmoothedHinge(gamma=1.0)(jnp.array(-1.0), jnp.array(1)))
        1.5
    """

    gamma: Scalar

    def __init__(self, gamma: ArrayLike = 1.0):
        require_positive(gamma, "gamma")
        self.gamma = _tree.setting(gamma)

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        gamma = _tree.match(self.gamma, score)
        hinge = jax.nn.relu(1 - _tree.match(target, score) * score)
        slope = jnp.minimum(hinge / gamma, 1)
        return slope * (hinge - 0.5 * gamma * slope)

    @property
    def curvature(self) -> Scalar:
        return 1 / self.gamma

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        sign = _tree.match(target, score)
        return -sign * jnp.minimum(jax.nn.relu(1 - sign * score) / _tree.match(self.gamma, score), 1)

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        aligned = _tree.match(target, dual) * dual
        inside = (aligned >= -1 - slack(dual)) & (aligned <= slack(dual))
        return finite_where(inside, aligned + 0.5 * _tree.match(self.gamma, dual) * dual**2)

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_signs(targets, "SmoothedHinge")
