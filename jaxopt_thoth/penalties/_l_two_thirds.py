import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from ._folded import AbstractFolded


class LTwoThirds(AbstractFolded):
    """Sum of magnitudes to the power two thirds, `strength * sum |x|^(2/3)`, on any pytree.

    Not convex: the prox jumps from zero at `2 (2/3 strength * step)^(3/4)`. `strength` is a setting as in
    `AbstractPenalty`. Raises `ValueError` for a known negative strength.

    Cao, Sun and Xu, "Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2, 2/3)
    regularization", 2013; Newton's method on their quartic cancels less than its closed form.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.LTwoThirds(1.5).prox(jnp.array([1.5, 8.5]), step=1.0).round(4).tolist()
        [0.0, 8.0]
    """

    def _height(self, m: Array) -> Array:
        safe = jnp.where(m > 0, m, 1)
        return jnp.where(m > 0, _tree.match(self.strength, m) * jnp.cbrt(safe) ** 2, 0)

    def _shrink(self, m: Array, step: Array) -> Array:
        t = 2 / 3 * step * _tree.match(self.strength, m)
        kept = m > 2 * t**0.75
        safe = jnp.where(kept, m, 1)
        # z = m w^3 with w the largest root of w^4 - w + k = 0. Newton's method comes down from w = 1; above the
        # threshold k is at most 2^(-4/3), where six steps reach the rounding of float64.
        k = jnp.where(kept, t, 0) / safe / jnp.cbrt(safe)
        w = jnp.ones_like(m)
        for _ in range(6):
            w = (3 * w**4 - k) / (4 * w**3 - 1)
        return jnp.where(kept, safe * w**3, 0)

    def _slope(self, m: Array) -> Array:
        strength = _tree.match(self.strength, m)
        steep = 2 / 3 * strength / jnp.cbrt(jnp.where(m > 0, m, 1))
        return jnp.where(m > 0, steep, jnp.where(strength > 0, jnp.inf, 0))
