import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._group_lasso import GroupLasso
from ._l1 import L1
from ._parts import indicator, soft_threshold


class SparseGroupLasso(AbstractPenalty):
    """Sparse groups with sparse members, `l1 |x|_1 + group * sum_g weights_g |x_g|_2`.

    `x` is a vector (p,), `l1` a scalar or one number a coordinate; `group`, `groups`, `weights` and `num_groups` are
    what `GroupLasso` takes. The prox is the soft thresholding of entries, then that of groups. Raises `ValueError` as
    `GroupLasso` does, and for a known negative `l1`.

    Simon, Friedman, Hastie and Tibshirani, "A sparse-group lasso", 2013.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalty = penalties.SparseGroupLasso(1.0, 1.0, groups=[0, 0, 1])
        >>> penalty.prox(jnp.array([0.5, 3.0, 1.5]), step=1.0).tolist()
        [0.0, 1.0, 0.0]
    """

    l1: Float[Array, "..."]
    blocks: GroupLasso

    def __init__(
        self,
        l1: ArrayLike,
        group: ArrayLike,
        groups: Int[ArrayLike, " p"],
        weights: ArrayLike = 1.0,
        *,
        num_groups: int | None = None,
    ):
        require_nonnegative(l1, "l1")
        require_nonnegative(group, "group")
        self.l1 = _tree.setting(l1)
        self.blocks = GroupLasso(group, groups, weights, num_groups=num_groups)

    @property
    def group(self) -> Scalar:
        """Strength of the group term."""
        return self.blocks.strength

    def value(self, x: Float[Array, " p"]) -> Scalar:
        return L1(self.l1).value(x) + self.blocks.value(x)

    def prox(self, x: Float[Array, " p"], step: ArrayLike) -> Float[Array, " p"]:
        return self.blocks.prox(L1(self.l1).prox(x, step), step)

    def conjugate(self, dual: Float[Array, " p"]) -> Scalar:
        norms = self.blocks._norms(self._excess(dual))
        # The room is in units of the dual variable: thresholding leaves its rounding in place.
        room = 64 * float(jnp.finfo(dual.dtype).eps) * self.blocks._norms(dual)
        return indicator(jnp.all(norms <= self.blocks._bounds(norms) + room), dual)

    def dual_scale(self, dual: Float[Array, " p"]) -> Scalar:
        norms = self.blocks._norms(dual)
        bounds, l1 = self.blocks._bounds(norms), _tree.match(self.l1, dual)
        return jnp.min(_largest_factor(self.blocks, dual, l1, bounds), initial=1)

    def minimal_subgradient(self, x: Float[Array, " p"], gradient: Float[Array, " p"]) -> Float[Array, " p"]:
        return self.blocks.minimal_subgradient(x, L1(self.l1).minimal_subgradient(x, gradient))

    def support(self, x: Float[Array, " p"]) -> Array:
        return x != 0

    def critical_strength(self, gradient_at_zero: Float[Array, " p"]) -> Scalar:
        """Smallest `group` for which zero solves `f + g`, at the given `l1`."""
        return self.blocks.critical_strength(self._excess(gradient_at_zero))

    def _excess(self, x: Float[Array, " p"]) -> Float[Array, " p"]:
        return soft_threshold(x, _tree.match(self.l1, x))


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def _largest_factor(blocks: GroupLasso, dual: Array, l1: Array, bounds: Array) -> Array:
    """Largest factor in [0, 1] of each group with `|soft(factor * dual_g, l1)| <= bound_g`.

    The norm is convex and increasing in the factor, so that Newton's method comes down from one.
    """

    def newton(factor: Array) -> Array:
        excess = soft_threshold(factor[blocks._ids(dual)] * dual, l1)
        norms = blocks._norms(excess)
        alive = norms > 0
        slopes = blocks._sums(excess / jnp.where(alive, norms, 1)[blocks._ids(dual)] * dual)
        over = norms - bounds
        fall = (over > 0) & (slopes > 0)
        return jnp.where(fall, jnp.maximum(factor - over / jnp.where(fall, slopes, 1), 0), factor)

    def falls(carry: tuple[Array, Array, Array]) -> Array:
        old, new, count = carry
        return jnp.any(new < old) & (count < 100)

    def fall(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, new, count = carry
        return new, newton(new), count + 1

    start = jnp.ones_like(bounds)
    _, factor, _ = while_loop(falls, fall, (start, newton(start), jnp.asarray(0)))
    return factor
