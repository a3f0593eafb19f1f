"""The choice of a solver, by the table of docs/choosing_an_erm_solver.md."""

import jax

from ..losses import Multinomial
from ..penalties import AbstractPenalty, ElasticNet, ExceptLast, GroupLasso, L1, L2Squared, MCP, SCAD
from ..problems import Composite
from ..smooth import LinearModel


# Columns whose Gram matrix is worth its price whatever the penalty.
FEW_COLUMNS = 512


def auto(problem: Composite) -> str:
    """Name of the solver that suits a problem, from what is known of it before any number: kinds, shapes, device."""
    model, penalty = problem.smooth, problem.penalty
    if not isinstance(model, LinearModel) or not model.loss.is_smooth:
        return "chambolle-pock"
    penalty = penalty.penalty if isinstance(penalty, ExceptLast) else penalty
    # Momentum assumes convexity; plain steps go down whatever the penalty.
    first_order = "fista" if penalty.is_convex else "ista"
    # One coordinate after the other is what an accelerator does worst.
    if jax.default_backend() != "cpu" or isinstance(model.loss, Multinomial):
        return first_order
    n, p = model.design.shape
    if _by_rows(penalty) and (_is_sparse(penalty) or (p <= min(FEW_COLUMNS, n) and model.targets.ndim == 1)):
        return "cd"
    return first_order


def _by_rows(penalty: AbstractPenalty) -> bool:
    """Whether it is a sum over rows of the parameters, known to descend over them without trouble."""
    if isinstance(penalty, GroupLasso):
        return penalty.largest_group == 1
    return isinstance(penalty, L1 | L2Squared | ElasticNet | MCP | SCAD)


def _is_sparse(penalty: AbstractPenalty) -> bool:
    return not isinstance(penalty, L2Squared)
