import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params
from ._folded import AbstractFolded, require_above


class MCP(AbstractFolded):
    """Minimax concave penalty on any pytree: slope `strength` at zero, falling to 0 at `gamma * strength`.

    Of a magnitude m it is `strength m - m^2 / (2 gamma)` up to `gamma * strength` and constant beyond, so that large
    entries are not biased; gamma to infinity gives `L1`. Not convex: the prox is firm thresholding for a step below
    gamma, hard thresholding at `strength * sqrt(gamma * step)` from there on. `strength` and `gamma` are settings as in
    `AbstractPenalty`. Raises `ValueError` for a known negative strength or gamma <= 1.

    Zhang, "Nearly unbiased variable selection under minimax concave penalty", 2010.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.MCP(1.0, gamma=2.0).prox(jnp.array([0.5, 1.5, 3.0]), step=1.0).tolist()
        [0.0, 1.0, 3.0]
    """

    gamma: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, gamma: ArrayLike | Params = 3.0):
        super().__init__(strength)
        require_above(gamma, 1, "gamma")
        self.gamma = _tree.settings(gamma)

    def _height(self, m: Array) -> Array:
        strength, gamma = _tree.match(self.strength, m), _tree.match(self.gamma, m)
        risen = jnp.minimum(m, gamma * strength)
        return risen * (strength - risen / (2 * gamma))

    def _shrink(self, m: Array, step: Array) -> Array:
        strength, gamma = _tree.match(self.strength, m), _tree.match(self.gamma, m)
        bowl = 1 - step / gamma
        firm = jax.nn.relu(m - step * strength) / jnp.where(bowl > 0, bowl, 1)
        # Where the concavity beats the step, the objective peaks between 0 and m: the better end wins.
        kept = m > jnp.where(bowl > 0, gamma * strength, strength * jnp.sqrt(gamma * step))
        return jnp.where(kept, m, jnp.where(bowl > 0, firm, 0))

    def _slope(self, m: Array) -> Array:
        return jax.nn.relu(_tree.match(self.strength, m) - m / _tree.match(self.gamma, m))
