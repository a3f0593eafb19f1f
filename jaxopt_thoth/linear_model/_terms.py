"""Losses and penalties by the names of Cyanure."""

from typing import Any

import numpy as np

from .. import losses, penalties
from ..losses import AbstractLoss
from ..penalties import AbstractPenalty
from ._by_column import ByColumn


_LOSSES = {
    "square": losses.Squared,
    "logistic": losses.Logistic,
    "sqhinge": losses.SquaredHinge,
    "squared_hinge": losses.SquaredHinge,
    "safe-logistic": losses.SafeLogistic,
    "multiclass-logistic": losses.Multinomial,
    "hinge": losses.Hinge,
    "poisson": losses.Poisson,
    "gamma": losses.Gamma,
}
_BY_ROW = ("l1l2", "l1linf", "l1l2+l1")
PENALTIES = ("none", "l2", "l1", "elasticnet", "fused-lasso", "l1-ball", "l2-ball", *_BY_ROW)


def loss_of(loss: Any) -> AbstractLoss:
    """The loss of a name, or the object itself."""
    if isinstance(loss, AbstractLoss):
        return loss
    if not isinstance(loss, str) or loss not in _LOSSES:
        raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, or one of jaxopt_thoth.losses, got {loss!r}.")
    return _LOSSES[loss]()


def clean(penalty: Any, strengths: tuple[float, float, float], num_columns: int) -> Any:
    """The simplest penalty that is the same: without terms of strength zero, or of rows with a single entry.

    Gives the penalty, or its name, and the strengths that it reads.
    """
    if isinstance(penalty, AbstractPenalty):
        return penalty, strengths
    if penalty is None:
        penalty = "none"
    if not isinstance(penalty, str) or penalty not in PENALTIES:
        raise ValueError(
            f"penalty must be one of {', '.join(PENALTIES)}, or one of jaxopt_thoth.penalties, got {penalty!r}."
        )
    first, second, third = strengths
    if penalty in ("l1-ball", "l2-ball"):
        if not first > 0:
            raise ValueError(f"lambda_1 is the radius of the {penalty} and must be positive, got {first}.")
        return penalty, strengths
    if penalty == "fused-lasso" and not third:
        penalty = "elasticnet"
    if penalty == "l1l2+l1":
        if not first:
            penalty, first = "l1", second
        elif not second:
            penalty = "l1l2"
        elif num_columns == 1:
            penalty, first = "l1", first + second
    if penalty in _BY_ROW and num_columns == 1:
        penalty = "l1"
    if penalty == "elasticnet":
        if not second:
            penalty = "l1"
        elif not first:
            penalty, first = "l2", second
    if penalty not in ("fused-lasso", "elasticnet") and not first:
        penalty = "none"
    return penalty, (first, second, third)


def is_by_row(penalty: Any) -> bool:
    """Whether the columns of the coefficients have to be fitted together; objects act on the whole."""
    return isinstance(penalty, AbstractPenalty) or penalty in _BY_ROW


def keeps_padding(penalty: Any) -> bool:
    """Whether more columns of zeros change nothing."""
    return not isinstance(penalty, AbstractPenalty) and penalty != "fused-lasso"


def strongly_convex(penalty: Any) -> bool:
    """Whether the penalty of a cleaned name is strongly convex."""
    return penalty in ("l2", "elasticnet")


def penalty_of(penalty: Any, strengths: tuple[Any, Any, Any], num_rows: int, whole: bool) -> AbstractPenalty:
    """The penalty of a cleaned name on one column of coefficients, or with `whole` on all columns."""
    if isinstance(penalty, AbstractPenalty):
        return penalty
    first, second, third = strengths
    groups = np.arange(num_rows)
    match penalty:
        case "none":
            return penalties.Zero()
        case "l2":
            return penalties.L2Squared(first)
        case "l1":
            return penalties.L1(first)
        case "elasticnet":
            return penalties.ElasticNet(first, second)
        case "l1l2":
            return penalties.GroupLasso(first, groups)
        case "l1linf":
            return penalties.GroupLInf(first, groups)
        case "l1l2+l1":
            return penalties.SparseGroupLasso(second, first, groups)
        case "fused-lasso":
            column: AbstractPenalty = penalties.FusedLasso(third, first, second)
        case "l1-ball":
            column = penalties.L1Ball(first)
        case _:
            column = penalties.L2Ball(first)
    return ByColumn(column) if whole else column
