from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree

from .. import _tree
from .._types import Params
from ._ridge import Ridge


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
    check: bool | None = None,
    transposed_part: Callable[[Params], Params] = lambda residual: residual,
) -> Params:
    """Solve `matvec(x) = rhs` in a way that JAX can transpose, by a lineax solver or by the default for the size.

    The default is a factorization, beyond 256 unknowns GMRES, or conjugate gradient if symmetric: never the normal
    equations. Where it does not reach `rtol` within a factor of a thousand, the result is NaN; a solver of the caller
    raises as lineax does, but for BiCGStab,
    which hands over to GMRES where it breaks down. A system that is not `well_posed` is solved in the least-squares
    sense where it is small;
    with `check` it too is NaN where that leaves a residual, or in the transposed system a `transposed_part` of one.
    """
    check = well_posed if check is None else check
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
    tags = lx.positive_semidefinite_tag if symmetric and _needs_tag(chosen) else ()

    bound = jnp.maximum(1000 * tol, float(jnp.finfo(dtype).eps) ** 0.5)

    def restarted(operator: lx.AbstractLinearOperator, b: Params) -> Params:
        gmres = lx.GMRES(rtol=tol, atol=tol, max_steps=steps, restart=min(size, 100))
        return lx.linear_solve(operator, b, gmres, throw=False).value

    def solve(
        product: Callable[[Params], Params], b: Params, chosen: lx.AbstractLinearSolver, part: Callable
    ) -> Params:
        # Krylov methods compare with absolute tolerances too: cotangents of any size have to become of size one.
        norm = _tree.stable_norm(b)
        unit = jnp.where(norm > 0, norm, 1)
        b = jax.tree.map(lambda leaf: leaf / unit, b)
        operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: b), tags)
        breaks_down = isinstance(chosen, lx.BiCGStab)
        raises = solver is not None and not breaks_down
        x = lx.linear_solve(operator, b, chosen, throw=raises).value
        if breaks_down:
            x = jax.lax.cond(_tree.norm(_tree.sub(product(x), b)) <= bound, lambda: x, lambda: restarted(operator, b))
        if not raises and check:
            residual = _tree.norm(part(_tree.sub(product(x), b)))
            x = _tree.where(residual <= bound, x, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), x))
        return _tree.scale(unit, x)

    # One vector: JAX refuses to transpose where only some leaves of the right side depend on what is differentiated.
    flat, unravel = ravel_pytree(rhs)
    ravel = lambda tree: ravel_pytree(tree)[0]
    flat_matvec = lambda v: ravel(matvec(unravel(v)))

    def by(chosen: lx.AbstractLinearSolver, part: Callable[[Params], Params]) -> Callable:
        return lambda product, b: ravel(solve(lambda v: unravel(product(ravel(v))), unravel(b), chosen, part))

    # A solver that knows its operator beforehand has to be told that it is transposed.
    transposed = chosen.transposed() if hasattr(chosen, "transposed") else chosen
    x = jax.lax.custom_linear_solve(
        flat_matvec,
        flat,
        by(chosen, lambda residual: residual),
        transpose_solve=by(transposed, transposed_part),
        symmetric=symmetric and transposed is chosen,
    )
    return unravel(x)


def _needs_tag(solver: lx.AbstractLinearSolver) -> bool:
    return isinstance(solver, lx.CG) or (isinstance(solver, Ridge) and _needs_tag(solver.solver))
