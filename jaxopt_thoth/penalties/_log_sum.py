import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params
from .._validate import require_positive
from ._folded import AbstractFolded


class LogSum(AbstractFolded):
    """Sum of logarithms `strength * sum log(1 + |x| / epsilon)`, on any pytree.

    Not convex: the prox jumps where `strength * step` exceeds `epsilon^2`, and then takes the better of zero and the
    outer stationary point. `strength` and `epsilon` are settings as in `AbstractPenalty`. Raises `ValueError` for a
    known negative strength, and unless a known `epsilon` is positive.

    Candes, Wakin and Boyd, "Enhancing sparsity by reweighted l1 minimization", 2008.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.LogSum(3.0, epsilon=1.0).prox(jnp.array([1.0, 3.0]), step=1.0).tolist()
        [0.0, 2.0]
    """

    epsilon: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, epsilon: ArrayLike | Params = 1.0):
        super().__init__(strength)
        require_positive(epsilon, "epsilon")
        self.epsilon = _tree.settings(epsilon)

    def _height(self, m: Array) -> Array:
        return _tree.match(self.strength, m) * jnp.log1p(m / _tree.match(self.epsilon, m))

    def _shrink(self, m: Array, step: Array) -> Array:
        t, epsilon = step * _tree.match(self.strength, m), _tree.match(self.epsilon, m)
        reach = m + epsilon
        # The outer root of `(z - m) (z + epsilon) + t = 0`, in units of `reach` so that no square overflows.
        share = 1 - 4 * t / reach / reach
        root = m - 0.5 * reach * (1 - _tree.safe_sqrt(jax.nn.relu(share)))
        better = root * (m - 0.5 * root) > t * jnp.log1p(jax.nn.relu(root) / epsilon)
        return jnp.where((share >= 0) & (root > 0) & better, root, 0)

    def _slope(self, m: Array) -> Array:
        return _tree.match(self.strength, m) / (m + _tree.match(self.epsilon, m))
