from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params
from ._linear_solution import LinearSolution
from ._structures import require_same_structure
from ._warm_linear_solve import Method, warm_linear_solve


def warm_root_vjp(
    optimality: Callable[..., Params],
    root: Params,
    arguments: tuple[Any, ...],
    cotangent: Params,
    start: Params | None = None,
    *,
    method: Method = "gmres",
    rtol: ArrayLike | None = None,
    atol: ArrayLike = 0.0,
    max_steps: int | None = None,
) -> tuple[tuple[Any, ...], LinearSolution]:
    """Cotangents of `arguments` as by `root_vjp`, from the adjoint of the last call, and the adjoint for the next.

    The adjoint u solves `A^T u = cotangent`, A being the Jacobian of `optimality` in x. It comes back as a
    `LinearSolution` with its residual and number of steps: none where nothing has changed. Not to be differentiated.

    Args:
        optimality: function of x and the arguments, with the structure of x.
        root: the x where it vanishes.
        arguments: the rest of its arguments; leaves that are not floating-point come back as None.
        cotangent: cotangent of x.
        start: the `value` of the last adjoint; zero by default.
        method: as for `warm_linear_solve`; "cg" where A is symmetric positive semidefinite, as of a convex objective.
        rtol: relative tolerance, as for `warm_linear_solve`.
        atol: absolute tolerance.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: as `warm_linear_solve`, and if `cotangent` has not the structure of `root`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jax.grad(lambda x, a: jnp.sum(x**4) / 4 - a @ x), jnp.ones(2), (jnp.ones(2),), jnp.ones(2)
        >>> (bar,), adjoint = jt.implicit.warm_root_vjp(*problem, method="cg")
        >>> again = jt.implicit.warm_root_vjp(*problem, adjoint.value, method="cg")[1]
        >>> print(bar.round(5), adjoint.num_steps, again.num_steps)
        [0.33333 0.33333] 1 0
    """
    require_same_structure(cotangent, root, "cotangent", "root")
    _, pull = jax.vjp(lambda x: optimality(x, *arguments), root)
    adjoint = warm_linear_solve(
        lambda u: pull(u)[0], cotangent, start, method=method, rtol=rtol, atol=atol, max_steps=max_steps
    )
    _, pull_arguments = eqx.filter_vjp(lambda *arguments: optimality(root, *arguments), *arguments)
    return pull_arguments(_tree.scale(-1.0, adjoint.value)), adjoint
