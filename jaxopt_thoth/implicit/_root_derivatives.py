from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import lineax as lx

from .._types import Params
from ._root import attach_root
from ._structures import require_same_structure


def root_jvp(
    optimality: Callable[..., Params],
    root: Params,
    arguments: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    linear_solver: lx.AbstractLinearSolver | None = None,
) -> Params:
    """Derivative along `tangents` of the x near `root` with `optimality(x, *arguments) = 0`.

    `tangents` has the structure of `arguments`, with None for leaves that are not floating-point. The linear solver is
    that of `custom_root`. Raises `ValueError` where structures do not fit.

    Blondel et al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.implicit.root_jvp(lambda x, a: x**2 - a, jnp.array(2.0), (jnp.array(4.0),), (jnp.array(1.0),)))
        0.25
    """
    known = lambda tree: jax.tree.map(lambda leaf: 0 if leaf is None else leaf, tree, is_leaf=lambda leaf: leaf is None)
    require_same_structure(known(tangents), known(arguments), "tangents", "arguments", shapes=False)
    attached = lambda *arguments: attach_root(optimality, root, arguments, linear_solver)
    return eqx.filter_jvp(attached, arguments, tangents)[1]


def root_vjp(
    optimality: Callable[..., Params],
    root: Params,
    arguments: tuple[Any, ...],
    cotangent: Params,
    *,
    linear_solver: lx.AbstractLinearSolver | None = None,
) -> tuple[Any, ...]:
    """Cotangents of `arguments` for a cotangent of the x near `root` with `optimality(x, *arguments) = 0`.

    Leaves of `arguments` that are not floating-point come back as None. The linear solver is that of `custom_root`.
    Raises `ValueError` where structures do not fit. `warm_root_vjp` starts from a known adjoint, and reports.

    Blondel et al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(*jt.implicit.root_vjp(lambda x, a: x**2 - a, jnp.array(2.0), (jnp.array(4.0),), jnp.array(1.0)))
        0.25
    """
    require_same_structure(cotangent, root, "cotangent", "root")
    attached = lambda *arguments: attach_root(optimality, root, arguments, linear_solver)
    return eqx.filter_vjp(attached, *arguments)[1](cotangent)
