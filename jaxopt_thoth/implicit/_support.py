from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._types import BoolScalar, Params, Scalar
from ..problems import Composite
from ..smooth import LinearModel, Quadratic
from ._linearization import Linearization


def gathered_solve(
    problem: Composite, params: Params, step: Scalar, linearization: Linearization, max_support: int
) -> tuple[Callable[[Params], Params], BoolScalar]:
    """Solver of the symmetrized system by one Cholesky factorization on a gathered support of static size.

    Entries past `max_support` are left at zero. The second value tells whether the solver is exact: nothing was left
    out, and the factorization lost few digits.

    Raises:
        ValueError: if the penalty is not separable, since then the Jacobian of the prox is not diagonal.
    """
    if not problem.penalty.is_separable:
        raise ValueError(
            f"max_support needs a separable penalty, and {type(problem.penalty).__name__} is not; leave it at None."
        )
    flat, unravel = ravel_pytree(params)
    size = flat.size
    diagonal = ravel_pytree(linearization.prox_jacobian(unravel(jnp.ones_like(flat))))[0]
    active = diagonal > 0
    # Positions past the support point one past the end: reads there are filled, and writes dropped.
    indices = jnp.nonzero(active, size=max_support, fill_value=size)[0]
    p = diagonal.at[indices].get(mode="fill", fill_value=0)
    hessian = _hessian_block(problem, params, indices, flat, unravel, linearization)
    matrix = step * p[:, None] * hessian * p[None, :] + jnp.diag(jnp.where(indices < size, p * (1 - p), 1))
    factor = jax.scipy.linalg.cho_factor(matrix, lower=True)

    def solve(rhs: Params) -> Params:
        b = ravel_pytree(rhs)[0].at[indices].get(mode="fill", fill_value=0)
        x = jax.scipy.linalg.cho_solve(factor, b)
        return unravel(jnp.zeros_like(flat).at[indices].set(x, mode="drop"))

    # What is left of each pivot: next to nothing, or NaN, where columns of the support depend on each other.
    pivots = jnp.diagonal(factor[0]) ** 2 / jnp.diagonal(matrix)
    sound = jnp.all(pivots > float(jnp.finfo(flat.dtype).eps) ** 0.25)
    return solve, (jnp.sum(active) <= max_support) & sound


def _hessian_block(
    problem: Composite, params: Params, indices: Array, flat: Array, unravel: Callable, linearization: Linearization
) -> Array:
    smooth = problem.smooth
    if isinstance(smooth, LinearModel | Quadratic) and eqx.is_array(params) and params.ndim == 1:
        return smooth.hessian_block(params, jnp.minimum(indices, flat.size - 1))

    def column(index: Array) -> Array:
        basis = jnp.zeros_like(flat).at[index].set(1, mode="drop")
        return ravel_pytree(linearization.hessian(unravel(basis)))[0].at[indices].get(mode="fill", fill_value=0)

    return jax.vmap(column)(indices)
