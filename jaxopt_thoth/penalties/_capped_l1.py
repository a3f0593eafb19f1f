import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params
from .._validate import require_positive
from ._folded import AbstractFolded


class CappedL1(AbstractFolded):
    """Absolute values up to a cap, `strength * sum min(|x|, threshold)`, on any pytree.

    Not convex: the prox takes the better of soft thresholding and of no shrinkage. `strength` and `threshold` are
    settings as in `AbstractPenalty`. Raises `ValueError` for a known negative strength, and unless a known `threshold`
    is positive.

    Zhang, "Analysis of multi-stage convex relaxation for sparse regularization", 2010.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.CappedL1(1.0, threshold=1.0).prox(jnp.array([0.5, 1.25, 2.0]), step=1.0).tolist()
        [0.0, 0.25, 2.0]
    """

    threshold: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, threshold: ArrayLike | Params):
        super().__init__(strength)
        require_positive(threshold, "threshold")
        self.threshold = _tree.settings(threshold)

    def _height(self, m: Array) -> Array:
        return _tree.match(self.strength, m) * jnp.minimum(m, _tree.match(self.threshold, m))

    def _shrink(self, m: Array, step: Array) -> Array:
        t, threshold = step * _tree.match(self.strength, m), _tree.match(self.threshold, m)
        # Where the cost of soft thresholding passes that of the cap; beyond 2 threshold it thresholds to zero there.
        bound = jnp.where(t <= 2 * threshold, threshold + 0.5 * t, jnp.sqrt(2 * t * threshold))
        return jnp.where(m > bound, m, jax.nn.relu(m - t))

    def _slope(self, m: Array) -> Array:
        return jnp.where(m < _tree.match(self.threshold, m), _tree.match(self.strength, m), 0)
