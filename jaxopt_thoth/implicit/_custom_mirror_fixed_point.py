from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar
from ..mirror import AbstractMirrorMap
from ._root import differentiate, LinearSolver


def custom_mirror_fixed_point(
    objective: Callable[..., Scalar],
    mirror_map: AbstractMirrorMap,
    *,
    linear_solver: LinearSolver = None,
    has_aux: bool = False,
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through the objective that it minimizes over the domain of a mirror map.

    The decorated `solver(start, *arguments)` may be anything. Its result is the fixed point x of
    `mirror_map.step(x, grad objective(x, *arguments), 1)`, that is a minimizer over the domain, as of the simplex for
    `jt.mirror.NegativeEntropy()`. This is `custom_root` of that equation, which stays well conditioned where entries
    of x come close to zero, since the map scales by them. An entry of zero, where the map is not differentiable, stays
    zero if the gradient holds it there. The other arguments are those of `custom_root`.

    Args:
        objective: smooth scalar function of x and the arguments.
        mirror_map: the map; it takes no part in the result beyond its domain, and no derivative.
        linear_solver: as for `custom_root`.
        has_aux: as for `custom_root`.

    Raises:
        TypeError: if `mirror_map` is of another kind.

    Blondel et al., "Efficient and modular implicit differentiation", 2022.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> cost = lambda x, c: c @ x + jnp.sum(x * jnp.log(x))
        >>> @jt.implicit.custom_mirror_fixed_point(cost, jt.mirror.NegativeEntropy())
        ... def solve(start, c):
        ...     return jax.nn.softmax(-c)  # by any means
        >>> print(jax.jacobian(solve, 1)(jnp.ones(2) / 2, jnp.zeros(2)))
        [[-0.25  0.25]
         [ 0.25 -0.25]]
    """
    if not isinstance(mirror_map, AbstractMirrorMap):
        raise TypeError(
            f"mirror_map must be one of jaxopt_thoth.mirror, got {type(mirror_map).__name__}; build it first, for "
            "example NegativeEntropy()."
        )
    mirror_map = _tree.stop_gradient(mirror_map)

    def optimality(x: Params, *arguments: Any) -> Params:
        gradient = jax.grad(objective)(x, *arguments)
        return _tree.sub(x, mirror_map.step(_inside(mirror_map, x), gradient, 1.0))

    return lambda solver: differentiate(solver, optimality, linear_solver, has_aux)


def _inside(mirror_map: AbstractMirrorMap, x: Params) -> Params:
    """`x` with entries that have no finite dual moved a rounding unit towards the center, where the map has slopes."""

    def move(entry: jax.Array, dual: jax.Array, middle: jax.Array) -> jax.Array:
        eps = float(jnp.finfo(entry.dtype).eps)
        return jnp.where(jnp.isfinite(dual), entry, (1 - eps) * entry + eps * middle)

    held = _tree.stop_gradient(x)
    return jax.tree.map(move, x, mirror_map.to_dual(held), mirror_map.center(held))
