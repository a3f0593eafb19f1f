from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from .._types import Params, Scalar
from ._base import AbstractPenalty
from ._elastic_net import ElasticNet
from ._l1 import L1
from ._l2_squared import L2Squared
from ._parts import times
from ._regularized import Regularized
from ._scaled import Scaled
from ._separable_sum import SeparableSum
from ._tilted import Tilted
from ._translated import Translated
from ._zero import Zero


def split_quadratic(penalty: AbstractPenalty, params_like: Params) -> tuple[Scalar, AbstractPenalty, Params]:
    """Take the quadratic out of a penalty: `g(x) = rest(x) + mu/2 |x|^2 - <pull, x>` up to a constant.

    A method that keeps a quadratic of its own (MISO, an accelerated one) must not meet it in the prox as well: it takes
    the prox of `rest`. What is taken out is the quadratic of `L2Squared`, `ElasticNet` and `Regularized` (of their
    least strength, where the entries have one each), through `Scaled`, `Translated`, `Tilted` and `SeparableSum`; any
    other penalty is its own rest, with mu = 0.

    Args:
        penalty: the penalty g.
        params_like: the parameters or any pytree like them; only shapes and dtypes are read.

    Returns:
        mu, a scalar; the penalty `rest`; and `pull`, a pytree like the parameters.

    Raises:
        ValueError: where a setting does not fit the parameters.

    Zou and Hastie, "Regularization and variable selection via the elastic net", 2005, for the split of their penalty.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> mu, rest, pull = penalties.split_quadratic(penalties.ElasticNet(1.0, 0.5), jnp.zeros(2))
        >>> float(mu), type(rest).__name__, pull.tolist()
        (0.5, 'L1', [0.0, 0.0])
    """
    mu, rest, pull = _split(penalty, params_like)
    return mu.astype(_tree.dtype_of(params_like)), rest, pull


def _split(penalty: AbstractPenalty, x: Params) -> tuple[Scalar, AbstractPenalty, Params]:
    still = _tree.zeros_like(x)
    dtype = _tree.dtype_of(x)
    if isinstance(penalty, L2Squared):
        mu, left = _take_least(penalty.strength)
        return mu, Zero() if left is None else L2Squared(left), still
    if isinstance(penalty, ElasticNet):
        mu, left = _take_least(penalty.l2)
        return mu, L1(penalty.l1) if left is None else ElasticNet(penalty.l1, left), still
    if isinstance(penalty, Regularized):
        mu, rest, pull = _split(penalty.penalty, x)
        strength = penalty.strength.astype(dtype)
        return mu.astype(dtype) + strength, rest, _tree.add(pull, penalty._pull(x))
    if isinstance(penalty, Scaled) and not penalty.is_indicator:
        mu, rest, pull = _split(penalty.penalty, x)
        factor = penalty.factor.astype(dtype)
        return factor * mu.astype(dtype), Scaled(rest, penalty.factor), times(pull, factor)
    if isinstance(penalty, Translated):
        mu, rest, pull = _split(penalty.penalty, x)
        offset = _tree.expand(penalty.offset, x, "offset")
        return mu, Translated(rest, penalty.offset), _tree.add_scaled(pull, mu, offset)
    if isinstance(penalty, Tilted):
        mu, rest, pull = _split(penalty.penalty, x)
        return mu, rest, _tree.sub(pull, _tree.expand(penalty.direction, x, "direction"))
    if isinstance(penalty, SeparableSum):
        return _split_sum(penalty, x)
    return jnp.zeros((), dtype), penalty, still


def _split_sum(penalty: SeparableSum, x: Params) -> tuple[Scalar, AbstractPenalty, Params]:
    parts, structure = penalty._map(_split, x)
    dtype = _tree.dtype_of(x)
    strengths = [mu.astype(dtype) for mu, _, _ in parts]
    mu = reduce(jnp.minimum, strengths, jnp.asarray(jnp.inf, dtype))
    rests = [Regularized(rest, own - mu) for own, (_, rest, _) in zip(strengths, parts, strict=True)]
    return mu, SeparableSum(structure.unflatten(rests)), structure.unflatten([pull for _, _, pull in parts])


def _take_least(strengths: Params) -> tuple[Scalar, Params | None]:
    """The least strength, and what it leaves of the others: None where there is one alone."""
    leaves = jax.tree.leaves(strengths)
    least = least_entry(strengths)
    if len(leaves) == 1 and leaves[0].ndim == 0:
        return least, None
    return least, jax.tree.map(lambda s: s - least.astype(s.dtype), strengths)


def least_entry(values: Any) -> Scalar:
    """The least entry of all leaves."""
    least: Callable[[Array], Array] = lambda leaf: jnp.min(leaf, initial=jnp.inf)
    dtype = _tree.dtype_of(values)
    return reduce(jnp.minimum, [least(leaf).astype(dtype) for leaf in jax.tree.leaves(values)])
