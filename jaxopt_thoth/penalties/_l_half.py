import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from ._folded import AbstractFolded


class LHalf(AbstractFolded):
    """Sum of square roots of magnitudes, `strength * sum |x|^(1/2)`, on any pytree.

    Not convex: the prox is half thresholding, which jumps from zero at `1.5 (strength * step)^(2/3)`. `strength` is a
    setting as in `AbstractPenalty`. Raises `ValueError` for a known negative strength.

    Xu, Chang, Xu and Zhang, "L1/2 regularization: a thresholding representation theory and a fast solver", 2012.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.LHalf(2.0).prox(jnp.array([2.0, 5.0]), step=1.0).round(4).tolist()
        [0.0, 4.5302]
    """

    def _height(self, m: Array) -> Array:
        return _tree.match(self.strength, m) * _tree.safe_sqrt(m)

    def _shrink(self, m: Array, step: Array) -> Array:
        t = step * _tree.match(self.strength, m)
        kept = m > 1.5 * t ** (2 / 3)
        safe = jnp.where(kept, m, 1)
        # Above the threshold the cosine is at most 1 / sqrt(2), far from where its inverse is steep.
        ratio = jnp.where(kept, t, 0) / safe / jnp.sqrt(safe)
        angle = jnp.arccos(-0.75 * 3**0.5 * ratio)
        return jnp.where(kept, safe * (2 / 3) * (1 + jnp.cos(2 / 3 * angle)), 0)

    def _slope(self, m: Array) -> Array:
        strength = _tree.match(self.strength, m)
        steep = 0.5 * strength / jnp.where(m > 0, jnp.sqrt(m), 1)
        return jnp.where(m > 0, steep, jnp.where(strength > 0, jnp.inf, 0))
