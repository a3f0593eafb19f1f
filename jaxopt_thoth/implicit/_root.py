import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import lineax as lx

from .. import _tree
from .._types import Params
from ._linear_solve import linear_solve


def differentiate(
    solver: Callable,
    optimality: Callable[..., Params],
    linear_solver: lx.AbstractLinearSolver | None,
    has_aux: bool,
    symmetric: bool = False,
) -> Callable:
    """`solver(start, *arguments)` with the derivatives of the root of `optimality` that it finds."""

    @functools.wraps(solver)
    def solve(start: Params, *arguments: Any) -> Any:
        found = solver(*_tree.stop_gradient((start, *arguments)))
        root, aux = found if has_aux else (found, None)
        attached = attach_root(optimality, root, arguments, linear_solver, symmetric)
        return (attached, _tree.stop_gradient(aux)) if has_aux else attached

    return solve


def attach_root(
    optimality: Callable[..., Params],
    root: Params,
    arguments: tuple[Any, ...],
    linear_solver: lx.AbstractLinearSolver | None,
    symmetric: bool = False,
) -> Params:
    """`root`, where `optimality(root, *arguments)` vanishes, with the derivatives in `arguments` that this implies."""
    root = _tree.stop_gradient(root)
    return _attach_root(arguments, root, optimality=optimality, linear_solver=linear_solver, symmetric=symmetric)


@eqx.filter_custom_jvp
def _attach_root(arguments, root, *, optimality, linear_solver, symmetric):
    return root


@_attach_root.def_jvp
def _attach_root_jvp(primals, tangents, *, optimality, linear_solver, symmetric):
    arguments, root = primals
    tangent, _ = tangents
    # Attached again inside the rule, so that the rule can be differentiated in its turn.
    root = _attach_root(arguments, root, optimality=optimality, linear_solver=linear_solver, symmetric=symmetric)
    _, residual = eqx.filter_jvp(lambda arguments: optimality(root, *arguments), (arguments,), (tangent,))
    derivative = jax.linearize(lambda x: optimality(x, *arguments), root)[1]
    dx = linear_solve(derivative, residual, linear_solver, symmetric=symmetric)
    return root, _tree.scale(-1.0, dx)
