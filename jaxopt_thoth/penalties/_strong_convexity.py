from functools import reduce

import jax.numpy as jnp

from .._types import Scalar
from ._base import AbstractPenalty
from ._elastic_net import ElasticNet
from ._l2_squared import L2Squared
from ._regularized import Regularized
from ._scaled import Scaled
from ._separable_sum import SeparableSum
from ._split_quadratic import least_entry
from ._tilted import Tilted
from ._translated import Translated


def strong_convexity(penalty: AbstractPenalty) -> Scalar:
    """The modulus mu for which `g(x) - mu/2 |x|^2` is known to be convex: that of `split_quadratic`.

    Zero for a penalty without a quadratic of its own, and for `ExceptLast`, whose intercept is free.

    Nesterov, "Introductory lectures on convex optimization: a basic course", 2004, for the notion.

    Example:
        >>> from jaxopt_thoth import penalties
        >>> ridge = penalties.Regularized(penalties.ElasticNet(1.0, 0.5), 0.25)
        >>> float(penalties.strong_convexity(ridge)), float(penalties.strong_convexity(penalties.L1(1.0)))
        (0.75, 0.0)
    """
    zero = jnp.zeros((), jnp.result_type(float))
    if isinstance(penalty, L2Squared):
        return least_entry(penalty.strength)
    if isinstance(penalty, ElasticNet):
        return least_entry(penalty.l2)
    if isinstance(penalty, Regularized):
        inner = strong_convexity(penalty.penalty)
        return inner + penalty.strength.astype(inner.dtype)
    if isinstance(penalty, Scaled):
        inner = strong_convexity(penalty.penalty)
        return zero if penalty.is_indicator else penalty.factor.astype(inner.dtype) * inner
    if isinstance(penalty, Translated | Tilted):
        return strong_convexity(penalty.penalty)
    if isinstance(penalty, SeparableSum):
        parts = [strong_convexity(block).astype(zero.dtype) for block in penalty._blocks()[0]]
        return reduce(jnp.minimum, parts) if parts else zero
    return zero
