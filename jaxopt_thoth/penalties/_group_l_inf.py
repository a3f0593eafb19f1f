import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from ._groups import AbstractGroupNorm, clip_groups, group_peaks, group_sums, least_on_cubes


class GroupLInf(AbstractGroupNorm):
    """Sum of the largest magnitudes of disjoint groups of coordinates, `strength * sum_g weights_g |x_g|_inf`.

    `x` is a vector (p,), or an array (p, ...) whose rows go with their coordinate: `groups=jnp.arange(p)` is then the
    l1/linf norm over rows. `groups` (p,) holds the integer group of each coordinate, from 0; `weights` is a scalar or
    one number a group. `num_groups` is needed only while `groups` is traced. The prox clips each group at a level of
    its own. Raises `ValueError` for known negative settings, ids that are not integers from 0, and an array of another
    length.

    Quattoni, Carreras, Collins and Darrell, "An efficient projection for l1,infinity regularization", 2009; the levels
    are found by a monotone Newton's method in all groups at once.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalty = penalties.GroupLInf(1.0, groups=[0, 0, 1])
        >>> penalty.prox(jnp.array([3.0, 2.5, -0.5]), step=1.0).tolist()
        [2.25, 2.25, 0.0]
    """

    def __init__(
        self,
        strength: ArrayLike,
        groups: Int[ArrayLike, " p"],
        weights: ArrayLike = 1.0,
        *,
        num_groups: int | None = None,
    ):
        super().__init__(strength, groups, weights, num_groups=num_groups)

    def _norms(self, x: Float[Array, "p ..."]) -> Float[Array, " groups"]:
        return group_peaks(x, self._ids(x), self.num_groups)

    def _dual_norms(self, x: Float[Array, "p ..."]) -> Float[Array, " groups"]:
        return group_sums(jnp.abs(x), self._ids(x), self.num_groups)

    def prox(self, x: Float[Array, "p ..."], step: ArrayLike) -> Float[Array, "p ..."]:
        thresholds = _tree.match(step, self._bounds(x)) * self._bounds(x)
        return clip_groups(x, self._ids(x), thresholds)

    def minimal_subgradient(self, x: Float[Array, "p ..."], gradient: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
        return least_on_cubes(x, gradient, self._ids(x), self._bounds(x))
