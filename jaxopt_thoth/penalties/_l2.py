import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import at_most, block_factor, indicator, shrink_ratio, times


class L2(AbstractPenalty):
    """Euclidean norm (not squared) of a whole pytree times the strength, `strength * |x|_2`.

    Either every entry is zero or none is thresholded. Raises `ValueError` for a known negative strength.

    The prox is block soft thresholding: Yuan and Lin, "Model selection and estimation in regression with grouped
    variables", 2006.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.L2(2.0).prox(jnp.array([0.0, -4.0]), step=0.5).tolist()
        [0.0, -3.0]
    """

    strength: Scalar

    def __init__(self, strength: ArrayLike):
        require_nonnegative(strength, "strength")
        self.strength = _tree.setting(strength)

    def value(self, x: Params) -> Scalar:
        norm = _tree.stable_norm(x)
        return _tree.match(self.strength, norm) * norm

    def prox(self, x: Params, step: ArrayLike) -> Params:
        norm = _tree.stable_norm(x)
        return times(x, block_factor(norm, _tree.match(self.strength, norm) * _tree.match(step, norm)))

    def conjugate(self, dual: Params) -> Scalar:
        return indicator(at_most(_tree.stable_norm(dual), self.strength), dual)

    def dual_scale(self, dual: Params) -> Scalar:
        return shrink_ratio(self.strength, _tree.stable_norm(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        norm, pull = _tree.stable_norm(x), _tree.stable_norm(gradient)
        strength = _tree.match(self.strength, norm)
        at_zero = times(gradient, block_factor(pull, strength))
        unit = times(x, 1 / jnp.where(norm > 0, norm, 1))
        return _tree.where(norm > 0, _tree.add(gradient, times(unit, strength)), at_zero)

    def support(self, x: Params) -> Params:
        alive = _tree.stable_norm(x) > 0
        return jax.tree.map(lambda a: jnp.broadcast_to(alive, a.shape), x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        return _tree.stable_norm(gradient_at_zero)
