from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from ._groups import AbstractGroupNorm, group_norms, group_sums, least_on_spheres, shrink_groups


class GroupLasso(AbstractGroupNorm):
    """Sum of the Euclidean norms of disjoint groups of coordinates, `strength * sum_g weights_g |x_g|_2`.

    `x` is a vector (p,), or an array (p, ...) whose rows go with their coordinate; `groups` (p,) holds the integer
    group of each coordinate, from 0; `weights` is a scalar or one number a group (`jnp.sqrt(group_size)` is customary).
    `num_groups` is needed only while `groups` is traced. Raises `ValueError` for known negative settings, ids that are
    not integers from 0, and an array of another length.

    Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalty = penalties.GroupLasso(1.0, groups=[0, 0, 1])
        >>> penalty.prox(jnp.array([0.0, 2.0, 0.5]), step=1.0).tolist()
        [0.0, 1.0, 0.0]
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
        return group_norms(x, self._ids(x), self.num_groups)

    def _dual_norms(self, x: Float[Array, "p ..."]) -> Float[Array, " groups"]:
        return self._norms(x)

    def _sums(self, x: Float[Array, "p ..."]) -> Float[Array, " groups"]:
        return group_sums(x, self._ids(x), self.num_groups)

    def prox(self, x: Float[Array, "p ..."], step: ArrayLike) -> Float[Array, "p ..."]:
        thresholds = _tree.match(step, self._bounds(x)) * self._bounds(x)
        return shrink_groups(x, self._ids(x), thresholds)

    def minimal_subgradient(self, x: Float[Array, "p ..."], gradient: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
        return least_on_spheres(x, gradient, self._ids(x), self._bounds(x))
