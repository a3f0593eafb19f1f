from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree

from .. import _tree
from .._types import Params


# Up to this size the Jacobian is formed and factored: exact, and faster than Krylov steps on so few unknowns.
_DENSE_UP_TO = 256


def linear_solve(
    matvec: Callable[[Params], Params],
    rhs: Params,
    solver: lx.AbstractLinearSolver | None = None,
    *,
    symmetric: bool = False,
    well_posed: bool = True,
    rtol: float | jax.Array | None = None,
    max_steps: int | None = None,
) -> Params:
    """Solve `matvec(x) = rhs` in a way that JAX can transpose, by a lineax solver or by the default for the size.

    The default is a factorization, beyond 256 unknowns GMRES, or conjugate gradient if symmetric: never the normal
    equations. Where it does not reach `rtol` within a factor of a thousand, the result is NaN; a solver of the caller
    raises as lineax does. A system that is not `well_posed` is solved in the least-squares sense where it is small.
    """
    dtype = _tree.dtype_of(rhs)
    size = sum(leaf.size for leaf in jax.tree.leaves(rhs))
    tol = jnp.asarray(100 * float(jnp.finfo(dtype).eps) if rtol is None else rtol, dtype)
    steps = 4 * size + 100 if max_steps is None else max_steps
    chosen = solver
    if chosen is None and size <= _DENSE_UP_TO:
        chosen = lx.LU() if well_posed else lx.AutoLinearSolver(well_posed=False)
    elif chosen is None and symmetric:
        chosen = lx.CG(rtol=tol, atol=tol, max_steps=steps)
    elif chosen is None:
        chosen = lx.GMRES(rtol=tol, atol=tol, max_steps=steps, restart=min(size, 100))
    # A factorization takes the operator as it is; the tag is what conjugate gradient asks for.
    tags = lx.positive_semidefinite_tag if symmetric and isinstance(chosen, lx.CG) else ()

    def solve(product: Callable[[Params], Params], b: Params) -> Params:
        # Krylov methods compare with absolute tolerances too: cotangents of any size have to become of size one.
        norm = _tree.stable_norm(b)
        unit = jnp.where(norm > 0, norm, 1)
        b = jax.tree.map(lambda leaf: leaf / unit, b)
        operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: b), tags)
        x = lx.linear_solve(operator, b, chosen, throw=solver is not None).value
        if solver is None and well_posed:
            residual = _tree.norm(_tree.sub(product(x), b))
            reached = residual <= jnp.maximum(1000 * tol, float(jnp.finfo(dtype).eps) ** 0.5)
            x = _tree.where(reached, x, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), x))
        return _tree.scale(unit, x)

    # One vector: JAX refuses to transpose where only some leaves of the right side depend on what is differentiated.
    flat, unravel = ravel_pytree(rhs)
    ravel = lambda tree: ravel_pytree(tree)[0]
    flat_matvec = lambda v: ravel(matvec(unravel(v)))
    flat_solve = lambda product, b: ravel(solve(lambda v: unravel(product(ravel(v))), unravel(b)))
    x = jax.lax.custom_linear_solve(flat_matvec, flat, flat_solve, transpose_solve=flat_solve, symmetric=symmetric)
    return unravel(x)
