import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._elastic_net import ElasticNet
from ._total_variation_1d import TotalVariation1D


class FusedLasso(AbstractPenalty):
    """Sparse and piecewise constant vectors, `tv sum |x[i+1] - x[i]| + l1 |x|_1 + l2/2 |x|^2`.

    `tv` and `l2` are scalars, `l1` too: with one for each entry the prox would not decompose into that of
    `TotalVariation1D` followed by that of `ElasticNet`. Raises `ValueError` for a known negative setting, and for an
    `l1` or `l2` that is not a scalar.

    Tibshirani et al., "Sparsity and smoothness via the fused lasso", 2005; Friedman, Hastie, Hoefling and Tibshirani,
    "Pathwise coordinate optimization", 2007, for the decomposition.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.FusedLasso(1.0, l1=0.5).prox(jnp.array([0.0, 0.0, 6.0, 4.0]), step=1.0).tolist()
        [0.0, 0.0, 4.0, 4.0]
    """

    tv: Scalar
    l1: Scalar
    l2: Scalar

    def __init__(self, tv: ArrayLike, l1: ArrayLike, l2: ArrayLike = 0.0):
        for name, value in (("tv", tv), ("l1", l1), ("l2", l2)):
            require_nonnegative(value, name)
            setting = _tree.setting(value)
            if setting.ndim:
                raise ValueError(f"{name} must be a scalar, got shape {setting.shape}; pass one number.")
        self.tv = _tree.setting(tv)
        self.l1 = _tree.setting(l1)
        self.l2 = _tree.setting(l2)

    def value(self, x: Float[Array, " n"]) -> Scalar:
        return TotalVariation1D(self.tv).value(x) + ElasticNet(self.l1, self.l2).value(x)

    def prox(self, x: Float[Array, " n"], step: ArrayLike) -> Float[Array, " n"]:
        z = TotalVariation1D(self.tv).prox(x, step)
        # Read at the first entry of each run: what is computed for each entry may differ in the last bit.
        starts = jnp.concatenate([jnp.ones(1, bool), z[1:] != z[:-1]])[: x.size]
        heads = jax.lax.cummax(jnp.where(starts, jnp.arange(x.size), 0))
        return ElasticNet(self.l1, self.l2).prox(z, step)[heads]

    def support(self, x: Float[Array, " n"]) -> Array:
        return x != 0
