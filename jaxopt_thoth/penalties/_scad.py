import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params
from ._folded import AbstractFolded, require_above


class SCAD(AbstractFolded):
    """Smoothly clipped absolute deviation on any pytree: an l1 norm near zero, constant beyond `gamma * strength`.

    The slope is `strength` up to a magnitude of `strength`, and falls to 0 at `gamma * strength`, so that large entries
    are not biased. Not convex: for a step of `gamma - 1` or more the prox is the better of soft thresholding and of no
    shrinkage. `strength` and `gamma` are settings as in `AbstractPenalty`. Raises `ValueError` for a known negative
    strength or gamma <= 2.

    Fan and Li, "Variable selection via nonconcave penalized likelihood and its oracle properties", 2001.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.SCAD(1.0, gamma=3.0).prox(jnp.array([0.5, 1.5, 2.5, 4.0]), step=1.0).tolist()
        [0.0, 0.5, 2.0, 4.0]
    """

    gamma: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, gamma: ArrayLike | Params = 3.7):
        super().__init__(strength)
        require_above(gamma, 2, "gamma")
        self.gamma = _tree.settings(gamma)

    def _height(self, m: Array) -> Array:
        strength, gamma = _tree.match(self.strength, m), _tree.match(self.gamma, m)
        bend = jnp.clip(m, strength, gamma * strength)
        missing = (gamma * strength - bend) / (gamma - 1)
        ascent = 0.5 * (gamma - 1) * (strength - missing) * (strength + missing)
        return strength * jnp.minimum(m, strength) + ascent

    def _shrink(self, m: Array, step: Array) -> Array:
        strength, gamma = _tree.match(self.strength, m), _tree.match(self.gamma, m)
        soft = jax.nn.relu(m - step * strength)
        bowl = gamma - 1 - step
        between = ((gamma - 1) * m - step * gamma * strength) / jnp.where(bowl > 0, bowl, 1)
        smooth = jnp.where(m <= strength * (1 + step), soft, jnp.where(m <= gamma * strength, between, m))
        # Where the concavity beats the step, only the ends of the concave stretch can win. The cost of the soft end
        # below step * strength is m^2 / (2 step); above, the two costs meet at the first of these bounds.
        flat = 0.5 * (gamma + 1)
        bound = strength * jnp.where(step <= 2 * flat, flat + 0.5 * step, jnp.sqrt(2 * flat * step))
        return jnp.where(bowl > 0, smooth, jnp.where(m > bound, m, soft))

    def _slope(self, m: Array) -> Array:
        strength, gamma = _tree.match(self.strength, m), _tree.match(self.gamma, m)
        return jnp.clip((gamma * strength - m) / (gamma - 1), 0, strength)
