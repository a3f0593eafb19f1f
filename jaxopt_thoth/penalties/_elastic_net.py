import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._entrywise import AbstractEntrywise
from ._l1 import L1
from ._l2_squared import L2Squared
from ._parts import largest, soft_threshold, total


class ElasticNet(AbstractEntrywise):
    """Sum of absolute values and half the sum of squares, `l1 |x|_1 + l2/2 |x|^2`, on any pytree.

    `l1` and `l2` are settings as in `AbstractPenalty`. scikit-learn's `(alpha, l1_ratio)` is `l1 = alpha * l1_ratio`,
    `l2 = alpha * (1 - l1_ratio)`. Raises `ValueError` for a known negative setting.

    Zou and Hastie, "Regularization and variable selection via the elastic net", 2005 (their naive elastic net).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.ElasticNet(1.0, 1.0).prox(jnp.array([3.0, 0.5]), step=1.0).tolist()
        [1.0, 0.0]
    """

    l1: Float[Array, "..."] | Params
    l2: Float[Array, "..."] | Params

    def __init__(self, l1: ArrayLike | Params, l2: ArrayLike | Params):
        require_nonnegative(l1, "l1")
        require_nonnegative(l2, "l2")
        self.l1 = _tree.settings(l1)
        self.l2 = _tree.settings(l2)

    def value(self, x: Params) -> Scalar:
        return L1(self.l1).value(x) + L2Squared(self.l2).value(x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array) -> Array:
            t = _tree.match(step, a)
            return soft_threshold(a, t * _tree.match(self.l1, a)) / (1 + t * _tree.match(self.l2, a))

        return jax.tree.map(entry, x)

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            excess = soft_threshold(u, _tree.match(self.l1, u))
            l2 = _tree.match(self.l2, u)
            curved = l2 > 0
            flat = jnp.where(jnp.abs(excess) <= 64 * float(jnp.finfo(u.dtype).eps) * jnp.abs(u), 0, jnp.inf)
            return jnp.where(curved, 0.5 * excess**2 / jnp.where(curved, l2, 1), flat)

        return total(entry, dual)

    def dual_scale(self, dual: Params) -> Scalar:
        # Only the entries without curvature confine the dual variable.
        confined = jax.tree.map(lambda u: jnp.where(_tree.match(self.l2, u) > 0, 0, u), dual)
        return L1(self.l1).dual_scale(confined)

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return L1(self.l1).minimal_subgradient(x, L2Squared(self.l2).minimal_subgradient(x, gradient))

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a != 0, x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest single `l1`, shared by all entries, for which zero solves `f + g`, whatever `l2`."""
        return largest(jnp.abs, gradient_at_zero)
