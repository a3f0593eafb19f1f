from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar
from ._relation import NeighboringRelation


class AbstractClipping(eqx.Module):
    """A rule that bounds the contribution of one gradient, a pytree, whatever the gradient is.

    A rule is called on the gradient of one example (`jax.vmap` it over a batch of them) and returns a pytree like it,
    of the same dtypes; norms and factors are in float32 at least. Levels are leaves: they may be traced, batched and
    differentiated. With `nan_safe` a gradient that has a NaN or an infinity anywhere contributes zero as a whole,
    without which no bound on the contributions holds; otherwise it is passed on.
    """

    nan_safe: bool = eqx.field(static=True)

    def __call__(self, gradient: Params) -> Params:
        gradient = _tree.as_inexact(gradient)
        if self.nan_safe:
            gradient = _tree.where(_tree.all_finite(gradient), gradient, _tree.zeros_like(gradient))
        return self._clip(gradient)

    def _clip(self, gradient: Params) -> Params:
        raise NotImplementedError

    @property
    def bound(self) -> Scalar:
        """Least upper bound of the Euclidean norm of what the rule returns, up to rounding."""
        raise NotImplementedError

    def sensitivity(self, relation: NeighboringRelation) -> Scalar:
        """How far, in Euclidean norm, the sum of the clipped gradients of two neighboring data sets may be apart.

        Raises `TypeError` unless `relation` is a `NeighboringRelation`.
        """
        if not isinstance(relation, NeighboringRelation):
            raise TypeError(
                f"relation must be a gradients.NeighboringRelation, got {relation!r}; pass for example "
                "NeighboringRelation.add_or_remove_one."
            )
        return relation.contributions * self.bound


class AbstractNormClipping(AbstractClipping):
    """A clipping rule that multiplies the whole gradient by a factor that depends on nothing but its norm.

    Where norms come without gradients (ghost norms, generalized linear models), `factor` is all that is needed.
    """

    def factor(self, norm: Scalar) -> Scalar:
        """The nonnegative factor of a gradient of this norm; non-finite norms are the caller's to drop."""
        raise NotImplementedError

    def _clip(self, gradient: Params) -> Params:
        return scale_by_norm(gradient, self.factor)


def scale_by_norm(gradient: Params, factor: Callable[[Scalar], Scalar]) -> Params:
    """The gradient times a factor of its norm, both computed in float32 at least, in the dtypes of the gradient."""
    wide = _widen(gradient)
    scale = factor(_tree.stable_norm(wide))
    return jax.tree.map(lambda a, w: (scale * w).astype(a.dtype), gradient, wide)


def tree_norm(gradient: Params) -> Scalar:
    """Euclidean norm of a whole pytree, in float32 at least."""
    return _tree.stable_norm(_widen(gradient))


def _widen(gradient: Params) -> Params:
    # Squares overflow in float16 from 256 on.
    double = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(gradient))
    dtype = jnp.float64 if double else jnp.float32
    return jax.tree.map(lambda a: a.astype(dtype), gradient)
