import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from ._folded import AbstractFolded


class L0(AbstractFolded):
    """Number of nonzero entries times the strength, on any pytree.

    Not convex: the prox is hard thresholding at `sqrt(2 * strength * step)`. Its derivative in the strength is zero: a
    small change moves no kept entry. `strength` is a setting as in `AbstractPenalty`. Raises `ValueError` for a known
    negative strength.

    Blumensath and Davies, "Iterative thresholding for sparse approximations", 2008.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.L0(2.0).prox(jnp.array([1.9, -2.1]), step=1.0).tolist()
        [0.0, -2.1]
    """

    def _height(self, m: Array) -> Array:
        return jnp.where(m > 0, _tree.match(self.strength, m), 0)

    def _shrink(self, m: Array, step: Array) -> Array:
        return jnp.where(m > jnp.sqrt(2 * step * _tree.match(self.strength, m)), m, 0)

    def _slope(self, m: Array) -> Array:
        steep = (m == 0) & (_tree.match(self.strength, m) > 0)
        return jnp.where(steep, jnp.inf, 0).astype(m.dtype)
