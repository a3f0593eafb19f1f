from typing import Any, ClassVar

import optax

from .. import _tree
from .._types import Params, Scalar
from ..gradients._descend import descend
from ..problems import AbstractProblem, Composite
from ..solvers import AbstractSolver
from ._bilevel import Bilevel


class AbstractBilevelSolver(AbstractSolver):
    """A method for `Bilevel` problems: `solve` drives it from a pair `(hyper, params)`, or a user does by hand.

    A step moves the outer variable once. The error is the norm of the move that a unit step along the (estimated)
    hypergradient would make: that of the hypergradient where nothing is projected.
    """

    problem_kind: ClassVar[type[AbstractProblem]] = Bilevel

    def fixed_point_step(self, problem: Any, params: Any, state: Any) -> Scalar:
        return super().fixed_point_step(problem, params.params, state)


def require_optimizer(optimizer: Any, name: str = "optimizer") -> optax.GradientTransformation:
    """The optax transformation; raises `TypeError` for anything else."""
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"{name} must be an optax gradient transformation, got {type(optimizer).__name__}; pass optax.sgd(0.1)."
        )
    return optimizer


def require_inner_solver(solver: Any) -> AbstractSolver:
    """The solver of composite problems; raises `TypeError` for anything else."""
    if not isinstance(solver, AbstractSolver) or not issubclass(Composite, solver.problem_kind):
        raise TypeError(
            f"inner_solver must be a solver of Composite problems, got {type(solver).__name__}; "
            "pass ProximalGradient()."
        )
    return solver


def outer_step(
    problem: Bilevel, optimizer: optax.GradientTransformation, hyper: Params, gradient: Params, state: Any
) -> tuple[Params, Any]:
    """The outer variable after one projected step of an optax transformation."""
    hyper, state = descend(optimizer, gradient, state, hyper)
    return problem.project(hyper), state


def outer_error(problem: Bilevel, hyper: Params, gradient: Params) -> Scalar:
    """Norm of the move of a projected unit step along the gradient."""
    moved = problem.project(_tree.sub(hyper, gradient))
    return _tree.norm(_tree.sub(hyper, moved))
