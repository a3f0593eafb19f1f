import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from .. import _tree
from .._types import Params
from ._linear_solve import linear_solve
from ._structures import require_same_structure


# A lineax solver, None for the default, or a function of the solver's auxiliary output.
LinearSolver: TypeAlias = lx.AbstractLinearSolver | Callable[[Any], lx.AbstractLinearSolver] | None


def differentiate(
    solver: Callable,
    optimality: Callable[..., Params],
    linear_solver: LinearSolver,
    has_aux: bool,
    symmetric: bool = False,
    well_posed: bool = True,
) -> Callable:
    """`solver(start, *arguments)` with the derivatives of the root of `optimality` that it finds."""

    @functools.wraps(solver)
    def solve(start: Params, *arguments: Any) -> Any:
        found = solver(*_tree.stop_gradient((start, *arguments)))
        root, aux = found if has_aux else (found, None)
        chosen = _chosen(linear_solver, _tree.stop_gradient(aux))
        attached = attach_root(optimality, root, arguments, chosen, symmetric, well_posed)
        return (attached, _tree.stop_gradient(aux)) if has_aux else attached

    return solve


def _chosen(linear_solver: LinearSolver, aux: Any) -> lx.AbstractLinearSolver | None:
    if linear_solver is not None and not isinstance(linear_solver, lx.AbstractLinearSolver):
        if not callable(linear_solver):
            raise TypeError(
                f"linear_solver must be a lineax solver or a function of aux, got {type(linear_solver).__name__}; "
                "for example lineax.LU()."
            )
        linear_solver = linear_solver(aux)
    return linear_solver


def attach_root(
    optimality: Callable[..., Params],
    root: Params,
    arguments: tuple[Any, ...],
    linear_solver: lx.AbstractLinearSolver | None,
    symmetric: bool = False,
    well_posed: bool = True,
) -> Params:
    """`root`, where `optimality(root, *arguments)` vanishes, with the derivatives in `arguments` that this implies."""
    root = _tree.stop_gradient(root)
    shape = eqx.filter_eval_shape(optimality, root, *arguments)
    require_same_structure(shape, root, "the result of the optimality function", "the solution")
    how = {"linear_solver": _tree.stop_gradient(linear_solver), "symmetric": symmetric, "well_posed": well_posed}
    return _attach_root(arguments, root, optimality=optimality, how=how)


def argument_tangent(fn: Callable[[Any], Params], arguments: Any, tangent: Any) -> Params:
    """Derivative of `fn(arguments)` along `tangent`, zero in the leaves that do not depend on what has a tangent."""
    value, moved = eqx.filter_jvp(fn, (arguments,), (tangent,))
    leaves = lambda tree: jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)
    known = [t for leaf, t in zip(leaves(value), leaves(moved), strict=True) if leaf is not None]
    zeros = [jnp.zeros_like(a) if t is None else t for a, t in zip(jax.tree.leaves(value), known, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(value), zeros)


@eqx.filter_custom_jvp
def _attach_root(arguments, root, *, optimality, how):
    return root


@_attach_root.def_jvp
def _attach_root_jvp(primals, tangents, *, optimality, how):
    arguments, root = primals
    tangent, _ = tangents
    # Attached again inside the rule, so that the rule can be differentiated in its turn.
    root = _attach_root(arguments, root, optimality=optimality, how=how)
    residual = argument_tangent(lambda arguments: optimality(root, *arguments), arguments, tangent)
    derivative = jax.linearize(lambda x: optimality(x, *arguments), root)[1]
    dx = linear_solve(
        derivative,
        residual,
        how["linear_solver"],
        symmetric=how["symmetric"],
        well_posed=how["well_posed"],
        check=True,
        # The multipliers of dependent rows are not unique, so that cotangents of theirs need not be in the range.
        transposed_part=(lambda residual: residual) if how["well_posed"] else (lambda residual: residual[0]),
    )
    return root, _tree.scale(-1.0, dx)
