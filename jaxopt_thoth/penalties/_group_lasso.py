import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import block_factor, indicator, shrink_ratio


class GroupLasso(AbstractPenalty):
    """Sum of the Euclidean norms of disjoint groups of coordinates, `strength * sum_g weights_g |x_g|_2`.

    `x` is a vector (p,); `groups` (p,) holds the integer group of each coordinate, from 0; `weights` is a scalar or
    one number a group (`jnp.sqrt(group_size)` is customary). `num_groups` is needed only while `groups` is traced.
    Raises `ValueError` for known negative settings, ids that are not integers from 0, and a vector of another length.

    Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalty = penalties.GroupLasso(1.0, groups=[0, 0, 1])
        >>> penalty.prox(jnp.array([0.0, 2.0, 0.5]), step=1.0).tolist()
        [0.0, 1.0, 0.0]
    """

    strength: Scalar
    weights: Float[Array, "..."]
    groups: Int[Array, " p"]
    num_groups: int = eqx.field(static=True)

    def __init__(
        self,
        strength: ArrayLike,
        groups: Int[ArrayLike, " p"],
        weights: ArrayLike = 1.0,
        *,
        num_groups: int | None = None,
    ):
        require_nonnegative(strength, "strength")
        require_nonnegative(weights, "weights")
        known = None if isinstance(groups, jax.core.Tracer) else np.asarray(groups)
        if known is None:
            if num_groups is None:
                raise ValueError("groups are traced; pass num_groups, or build the penalty outside the transformation.")
        else:
            if known.ndim != 1 or not np.issubdtype(known.dtype, np.integer) or np.any(known < 0):
                raise ValueError("groups must be a vector of integer ids from 0, one a coordinate.")
            num_groups = max(int(known.max(initial=-1)) + 1, num_groups or 0)
        self.strength = _tree.setting(strength)
        self.weights = _tree.setting(weights)
        self.groups = jnp.asarray(groups)
        self.num_groups = num_groups
        if self.weights.ndim and self.weights.shape != (num_groups,):
            raise ValueError(
                f"weights must be a scalar or one a group, got shape {self.weights.shape} for {num_groups} groups."
            )

    def _norms(self, x: Float[Array, " p"]) -> Float[Array, " groups"]:
        if x.shape != self.groups.shape:
            raise ValueError(f"x has shape {x.shape} but groups {self.groups.shape}; pass one group id a coordinate.")
        peaks = jax.ops.segment_max(jnp.abs(x), self.groups, self.num_groups)
        # Scaled by the largest entry of its group: squares of tiny or huge entries would leave the float range.
        units = jax.lax.stop_gradient(jnp.where(peaks > 0, peaks, 1))
        return units * _tree.safe_sqrt(self._sums((x / units[self.groups]) ** 2))

    def _sums(self, x: Float[Array, " p"]) -> Float[Array, " groups"]:
        return jax.ops.segment_sum(x, self.groups, self.num_groups)

    def _bounds(self, norms: Float[Array, " groups"]) -> Float[Array, " groups"]:
        return jnp.broadcast_to(_tree.match(self.strength, norms) * _tree.match(self.weights, norms), norms.shape)

    def value(self, x: Float[Array, " p"]) -> Scalar:
        norms = self._norms(x)
        return jnp.sum(self._bounds(norms) * norms)

    def prox(self, x: Float[Array, " p"], step: ArrayLike) -> Float[Array, " p"]:
        norms = self._norms(x)
        return x * block_factor(norms, _tree.match(step, norms) * self._bounds(norms))[self.groups]

    def conjugate(self, dual: Float[Array, " p"]) -> Scalar:
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(dual.dtype).eps), dual)

    def dual_scale(self, dual: Float[Array, " p"]) -> Scalar:
        norms = self._norms(dual)
        return jnp.min(shrink_ratio(self._bounds(norms), norms), initial=1)

    def minimal_subgradient(self, x: Float[Array, " p"], gradient: Float[Array, " p"]) -> Float[Array, " p"]:
        norms, pulls = self._norms(x), self._norms(gradient)
        bounds = self._bounds(norms)
        alive = norms > 0
        along = (bounds / jnp.where(alive, norms, 1))[self.groups] * x
        at_zero = block_factor(pulls, bounds)[self.groups] * gradient
        return jnp.where(alive[self.groups], gradient + along, at_zero)

    def support(self, x: Float[Array, " p"]) -> Array:
        return (self._norms(x) > 0)[self.groups]

    def critical_strength(self, gradient_at_zero: Float[Array, " p"]) -> Scalar:
        """Smallest strength for which zero solves `f + g`; infinite if a group of weight zero pulls away from zero."""
        norms = self._norms(gradient_at_zero)
        weights = _tree.match(self.weights, norms)
        weighted = weights > 0
        ratios = jnp.where(weighted, norms / jnp.where(weighted, weights, 1), jnp.where(norms > 0, jnp.inf, 0))
        return jnp.max(ratios, initial=0)
