"""Proximal operators in jaxopt's form, `prox(x, hyperparams, scaling)`; each is the prox of one of our penalties."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import ArrayLike

from ... import _tree, penalties, projections
from ..._types import Params


def prox_none(x: Params, hyperparams: Any = None, scaling: ArrayLike = 1.0) -> Params:
    """Prox of zero: x itself, any pytree; the other arguments are not used.

    Example:
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_none(2.0))
        2.0
    """
    return x


def prox_lasso(x: Params, l1reg: Params | None = None, scaling: ArrayLike = 1.0) -> Params:
    """Prox of `scaling * l1reg * |x|_1`, soft thresholding of any pytree: `penalties.L1(l1reg).prox(x, scaling)`.

    `l1reg` is a number, 1 by default, or a pytree like `x`. Raises `ValueError` where it is known to be negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_lasso(jnp.array([3.0, -0.5]), 2.0, 0.5))
        [ 2. -0.]
    """
    return penalties.L1(1.0 if l1reg is None else l1reg).prox(_tree.as_inexact(x), scaling)


def prox_non_negative_lasso(x: Params, l1reg: Params | None = None, scaling: ArrayLike = 1.0) -> Params:
    """Prox of `scaling * l1reg * sum(x)` over nonnegative x, any pytree.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_non_negative_lasso(jnp.array([3.0, -0.5]), 2.0, 0.5))
        [2. 0.]
    """
    x = _tree.as_inexact(x)
    strength = _tree.expand(1.0 if l1reg is None else l1reg, x, "l1reg")
    return jax.tree.map(lambda a, s: projections.nonnegative(a - s * _tree.match(scaling, a)), x, strength)


def prox_elastic_net(x: Params, hyperparams: tuple[Params, Params] | None = None, scaling: ArrayLike = 1.0) -> Params:
    """Prox of `scaling * l1 * (|x|_1 + gamma/2 |x|^2)`, `(l1, gamma)` being the hyperparams: `penalties.ElasticNet`.

    Both are numbers or pytrees like `x`; (1, 1) by default.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_elastic_net(jnp.array([3.0, 0.5]), (1.0, 1.0)))
        [1. 0.]
    """
    x = _tree.as_inexact(x)
    l1, gamma = (1.0, 1.0) if hyperparams is None else hyperparams
    l1, gamma = _tree.expand(l1, x, "hyperparams[0]"), _tree.expand(gamma, x, "hyperparams[1]")
    return penalties.ElasticNet(l1, jax.tree.map(lambda a, b: a * b, l1, gamma)).prox(x, scaling)


def prox_group_lasso(x: Params, l2reg: ArrayLike | None = 1.0, scaling: ArrayLike = 1.0) -> Params:
    """Prox of `scaling * l2reg * |x|_2`, the whole pytree as one block: `penalties.L2(l2reg).prox(x, scaling)`.

    Unlike jaxopt's it has finite derivatives at zero. Raises `ValueError` where `l2reg` is known to be negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_group_lasso(jnp.array([0.0, -4.0]), 2.0, 0.5))
        [ 0. -3.]
    """
    return penalties.L2(1.0 if l2reg is None else l2reg).prox(_tree.as_inexact(x), scaling)


def prox_ridge(x: Params, l2reg: ArrayLike | None = 1.0, scaling: ArrayLike = 1.0) -> Params:
    """Prox of `scaling * l2reg / 2 * |x|^2`, any pytree: `penalties.L2Squared(l2reg).prox(x, scaling)`.

    Raises `ValueError` where `l2reg` is known to be negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_ridge(jnp.array([3.0, -1.0]), 2.0, 0.5))
        [ 1.5 -0.5]
    """
    return penalties.L2Squared(1.0 if l2reg is None else l2reg).prox(_tree.as_inexact(x), scaling)


def prox_non_negative_ridge(x: Params, l2reg: ArrayLike | None = 1.0, scaling: ArrayLike = 1.0) -> Params:
    """Prox of `scaling * l2reg / 2 * |x|^2` over nonnegative x, any pytree.

    Raises `ValueError` where `l2reg` is known to be negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import prox
        >>> print(prox.prox_non_negative_ridge(jnp.array([3.0, -1.0]), 2.0, 0.5))
        [1.5 0. ]
    """
    return jax.tree.map(projections.nonnegative, prox_ridge(x, l2reg, scaling))


def make_prox_from_projection(projection: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The prox of the indicator of a set, from `projection(x, hyperparams)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection, prox
        >>> print(prox.make_prox_from_projection(projection.projection_simplex)(jnp.array([1.0, 0.0])))
        [1. 0.]
    """

    def prox(x: Any, hyperparams: Any = None, scaling: ArrayLike = 1.0) -> Any:
        return projection(x, hyperparams)

    return prox
