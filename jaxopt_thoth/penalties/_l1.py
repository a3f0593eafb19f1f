import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import every, indicator, largest, shrink_ratio, soft_threshold, total


class L1(AbstractEntrywise):
    """Sum of absolute values times the strength, `strength * |x|_1`, on any pytree.

    `strength` is a setting as in `AbstractPenalty`. Raises `ValueError` for a known negative strength.

    The prox is soft thresholding: Daubechies, Defrise and De Mol, "An iterative thresholding algorithm for linear
    inverse problems with a sparsity constraint", 2004.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.L1(2.0).prox(jnp.array([-3.0, 0.5]), step=0.5).tolist()
        [-2.0, 0.0]
    """

    strength: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        self.strength = _tree.settings(strength)

    def value(self, x: Params) -> Scalar:
        return total(lambda a: _tree.match(self.strength, a) * jnp.abs(a), x)

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return jax.tree.map(lambda a: soft_threshold(a, _tree.match(self.strength, a) * _tree.match(step, a)), x)

    def conjugate(self, dual: Params) -> Scalar:
        # Up to rounding, so that a dual point scaled onto the boundary counts as inside.
        return indicator(self.dual_scale(dual) >= 1 - 64 * float(jnp.finfo(_tree.dtype_of(dual)).eps), dual)

    def dual_scale(self, dual: Params) -> Scalar:
        ratios = jax.tree.map(lambda u: jnp.min(shrink_ratio(self.strength, jnp.abs(u)), initial=1), dual)
        return jax.tree.reduce(jnp.minimum, ratios, jnp.ones((), _tree.dtype_of(dual)))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        def entry(a: Array, g: Array) -> Array:
            strength = _tree.match(self.strength, a)
            return jnp.where(a == 0, soft_threshold(g, strength), g + strength * jnp.sign(a))

        return jax.tree.map(entry, x, gradient)

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a != 0, x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest single strength, shared by all entries, for which zero solves `f + g`."""
        return largest(jnp.abs, gradient_at_zero)

    def is_feasible(self) -> BoolScalar:
        return every(lambda s: s >= 0, self.strength)
