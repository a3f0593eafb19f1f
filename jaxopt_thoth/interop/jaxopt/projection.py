"""Projections in jaxopt's form, `projection(x, hyperparams)`; each is one of `jaxopt_thoth.projections`.

Sets whose parameters are known to be empty or contradictory raise `ValueError`, whether `check_feasible` asks or not.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from ... import _tree, penalties, projections
from ..._types import Params


def projection_non_negative(x: Params, hyperparams: Any = None) -> Params:
    """Projection of any pytree onto `{p >= 0}`; `hyperparams` are not used.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_non_negative(jnp.array([-1.0, 2.0])))
        [0. 2.]
    """
    return jax.tree.map(projections.nonnegative, x)


def projection_box(x: Params, hyperparams: tuple[Params, Params]) -> Params:
    """Projection of any pytree onto `{lower <= p <= upper}`, `hyperparams = (lower, upper)`: numbers or pytrees like x.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_box(jnp.array([-1.0, 2.0]), (0.0, 1.0)))
        [0. 1.]
    """
    lower, upper = hyperparams
    return penalties.Box(lower, upper).prox(_tree.as_inexact(x), 1.0)


def projection_hypercube(x: Params, unit: ArrayLike | None = 1.0) -> Params:
    """Projection of any pytree onto `{0 <= p <= unit}`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_hypercube(jnp.array([-1.0, 2.0]), 0.5))
        [0.  0.5]
    """
    return projection_box(x, (0.0, _default(unit)))


def projection_simplex(x: Float[ArrayLike, " n"], value: ArrayLike | None = 1.0) -> Float[Array, " n"]:
    """Projection of a vector onto `{p >= 0, sum p = value}`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_simplex(jnp.array([1.0, 0.5, -1.0])))
        [0.75 0.25 0.  ]
    """
    return projections.simplex(x, _default(value))


def projection_sparse_simplex(
    x: Float[ArrayLike, " n"], max_nz: int, use_approx_max_nz: bool = False, value: ArrayLike | None = 1.0
) -> Float[Array, " n"]:
    """Nearest point of `{p >= 0, sum p = value, at most max_nz entries are not zero}`; exact in either case.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_sparse_simplex(jnp.array([0.5, 0.5, 0.0]), 1))
        [1. 0. 0.]
    """
    return projections.sparse_simplex(x, max_nz, _default(value))


def projection_l1_sphere(x: Float[ArrayLike, "..."], value: ArrayLike | None = 1.0) -> Float[Array, "..."]:
    """Point of `{|p|_1 = value}` nearest to an array; the set is not convex, and a zero counts as positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_l1_sphere(jnp.array([1.0, -0.5])))
        [ 0.75 -0.25]
    """
    array: Array = _tree.as_inexact(x)
    sign = jnp.where(array < 0, -1, 1).astype(array.dtype)
    return sign * projections.simplex(sign * array, _default(value))


def projection_l1_ball(x: Float[ArrayLike, "..."], max_value: ArrayLike | None = 1.0) -> Float[Array, "..."]:
    """Projection of an array onto `{|p|_1 <= max_value}`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_l1_ball(jnp.array([1.0, -0.5])))
        [ 0.75 -0.25]
    """
    array: Array = _tree.as_inexact(x)
    radius = _tree.match(_default(max_value), array)
    # As in jaxopt, the derivative on the boundary is that of the inside.
    return jnp.where(jnp.sum(jnp.abs(array)) <= radius, array, projections.l1_ball(array, radius))


def projection_l2_sphere(x: Params, value: ArrayLike | None = 1.0) -> Params:
    """Point of `{|p|_2 = value}` nearest to a pytree; the set is not convex.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_l2_sphere(jnp.array([0.0, 0.5])))
        [0. 1.]
    """
    flat, unflatten = ravel_pytree(_tree.as_inexact(x))
    return unflatten(projections.sphere(flat, _default(value)))


def projection_l2_ball(x: Params, max_value: ArrayLike | None = 1.0) -> Params:
    """Projection of a pytree onto `{|p|_2 <= max_value}`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_l2_ball(jnp.array([0.0, 4.0]), 2.0))
        [0. 2.]
    """
    return projections.l2_ball(x, _default(max_value))


def projection_linf_ball(x: Params, max_value: ArrayLike | None = 1.0) -> Params:
    """Projection of a pytree onto `{max |p| <= max_value}`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_linf_ball(jnp.array([0.5, -4.0])))
        [ 0.5 -1. ]
    """
    return jax.tree.map(lambda leaf: projections.linf_ball(leaf, _default(max_value)), x)


def projection_hyperplane(x: Params, hyperparams: tuple[Params, ArrayLike]) -> Params:
    """Projection of a pytree onto `{<a, p> = b}`, `hyperparams = (a, b)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_hyperplane(jnp.array([1.0, 3.0]), (jnp.array([0.0, 2.0]), 4.0)))
        [1. 2.]
    """
    return _onto_plane(projections.hyperplane, x, hyperparams)


def projection_halfspace(x: Params, hyperparams: tuple[Params, ArrayLike]) -> Params:
    """Projection of a pytree onto `{<a, p> <= b}`, `hyperparams = (a, b)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_halfspace(jnp.array([1.0, 2.0]), (jnp.array([0.0, 1.0]), 1.5)))
        [1.  1.5]
    """
    return _onto_plane(projections.halfspace, x, hyperparams)


def projection_affine_set(x: Float[ArrayLike, " n"], hyperparams: tuple[ArrayLike, ArrayLike]) -> Float[Array, " n"]:
    """Projection of a vector onto `{A p = b}`, `hyperparams = (A, b)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_affine_set(jnp.array([1.0, 3.0]), (jnp.array([[0.0, 1.0]]), jnp.array([2.0]))))
        [1. 2.]
    """
    matrix, offset = hyperparams
    return projections.affine(x, matrix, offset)


def projection_polyhedron(
    x: Float[ArrayLike, " n"],
    hyperparams: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    check_feasible: bool = True,
) -> Float[Array, " n"]:
    """Projection of a vector onto `{A p = b, G p <= h}`, `hyperparams = (A, b, G, h)`; runs under `jit` as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> A, b, G, h = jnp.array([[1.0, 1.0]]), jnp.array([1.0]), -jnp.eye(2), jnp.zeros(2)
        >>> print(projection.projection_polyhedron(jnp.array([3.0, 0.0]), (A, b, G, h)).round(6))
        [1. 0.]
    """
    equal_matrix, equal_offset, matrix, offset = hyperparams
    return projections.polyhedron(x, matrix, offset, equal_matrix, equal_offset)


def projection_box_section(
    x: Float[ArrayLike, " n"],
    hyperparams: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    check_feasible: bool = False,
) -> Float[Array, " n"]:
    """Projection of a vector onto `{alpha <= p <= beta, <w, p> = c}`, `hyperparams = (alpha, beta, w, c)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_box_section(jnp.array([2.0, 0.5]), (0.0, 1.0, jnp.ones(2), 1.0)).round(6))
        [1. 0.]
    """
    lower, upper, normal, offset = hyperparams
    return projections.box_hyperplane(x, lower, upper, normal, offset)


def projection_transport(
    sim_matrix: Float[ArrayLike, "n m"],
    marginals: tuple[ArrayLike, ArrayLike],
    make_solver: Callable | None = None,
    use_semi_dual: bool = True,
) -> Float[Array, "n m"]:
    """Projection of a matrix onto the transport polytope with `marginals = (row sums, column sums)`.

    A Newton method solves the dual to rounding, so that `make_solver` and `use_semi_dual` have nothing to choose.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> sums = (jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0]))
        >>> print(projection.projection_transport(jnp.eye(2) / 2, sums).round(6))
        [[0.75 0.25]
         [1.25 1.75]]
    """
    return projections.transport(sim_matrix, marginals)


def projection_birkhoff(
    sim_matrix: Float[ArrayLike, "n n"], make_solver: Callable | None = None, use_semi_dual: bool = True
) -> Float[Array, "n n"]:
    """Projection of a matrix onto the doubly stochastic ones; the options are those of `projection_transport`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.projection_birkhoff(jnp.eye(2) / 2).round(6))
        [[0.75 0.25]
         [0.25 0.75]]
    """
    return projections.birkhoff(sim_matrix)


def kl_projection_transport(
    sim_matrix: Float[ArrayLike, "n m"],
    marginals: tuple[ArrayLike, ArrayLike],
    make_solver: Callable | None = None,
    use_semi_dual: bool = True,
) -> Float[Array, "n m"]:
    """Matrix with `marginals = (row sums, column sums)` nearest to `exp(sim_matrix)` in Kullback-Leibler divergence.

    The options are those of `projection_transport`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> sums = (jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0]))
        >>> print(projection.kl_projection_transport(jnp.zeros((2, 2)), sums).round(6))
        [[0.5 0.5]
         [1.5 1.5]]
    """
    return projections.transport_kl(sim_matrix, marginals)


def kl_projection_birkhoff(
    sim_matrix: Float[ArrayLike, "n n"], make_solver: Callable | None = None, use_semi_dual: bool = True
) -> Float[Array, "n n"]:
    """Doubly stochastic matrix nearest to `exp(sim_matrix)` in Kullback-Leibler divergence.

    The options are those of `projection_transport`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import projection
        >>> print(projection.kl_projection_birkhoff(jnp.zeros((2, 2))).round(6))
        [[0.5 0.5]
         [0.5 0.5]]
    """
    return projections.birkhoff_kl(sim_matrix)


def _default(size: ArrayLike | None) -> ArrayLike:
    # A prox made from a projection hands on the hyperparams of a run, which are None unless given.
    return 1.0 if size is None else size


def _onto_plane(project: Callable[..., Array], x: Params, hyperparams: tuple[Params, ArrayLike]) -> Params:
    normal, offset = hyperparams
    flat, unflatten = ravel_pytree(_tree.as_inexact(x))
    return unflatten(project(flat, ravel_pytree(_tree.as_inexact(normal))[0], offset))
