import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .. import _tree
from .._types import Scalar
from ._base import AbstractLoss
from ._domain import finite_where, negative_entropy, require_signs, slack


class SafeLogistic(AbstractLoss):
    """Logistic-like loss that vanishes beyond the margin, `exp(m - 1) - m` for `m = target * score <= 1`, 0 above.

    Targets are -1 or +1; scores and targets have the same shape. Rows classified with a margin have derivative zero,
    so that they may be dropped without moving the solution.

    Mialon, d'Aspremont and Mairal, "Screening data points in empirical risk minimization via ellipsoidal regions and
    safe loss functions", 2020.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> print(losses.SafeLogistic()(jnp.array([1.0, 2.0]), jnp.array([1, 1])))
        [0. 0.]
    """

    def __call__(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        # Clamped before the exponential, whose overflow would reach the derivative.
        short = jnp.minimum(_tree.match(target, score) * score - 1, 0)
        return jnp.expm1(short) - short

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(1.0)

    def derivative(self, score: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        sign = _tree.match(target, score)
        return sign * jnp.expm1(jnp.minimum(sign * score - 1, 0))

    def conjugate(self, dual: Float[Array, "..."], target: Shaped[Array, "..."]) -> Float[Array, "..."]:
        aligned = _tree.match(target, dual) * dual
        inside = (aligned >= -1 - slack(dual)) & (aligned <= slack(dual))
        return finite_where(inside, negative_entropy(1 + aligned))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        require_signs(targets, "SafeLogistic")
