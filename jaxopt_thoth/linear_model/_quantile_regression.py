from typing import Any

from ..losses import AbstractLoss, Pinball
from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._regression_base import LinearRegressor


class QuantileRegression(LinearRegressor):
    """Linear model of a quantile of the targets, by the pinball loss.

    The settings are those of `Classifier`, without the loss; of the solvers, "auto" and "chambolle-pock" take a loss
    with kinks. With "l1", `lambda_1` is the alpha of scikit-learn's QuantileRegressor.

    Koenker and Bassett, "Regression quantiles", 1978.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import QuantileRegression
        >>> X, y = np.zeros((5, 1)), np.array([1.0, 2.0, 3.0, 4.0, 50.0])
        >>> print(QuantileRegression(lambda_1=0.1, max_iter=5000).fit(X, y).predict([[0.0]]).round(1))
        [3.]
    """

    def __init__(
        self,
        quantile: float = 0.5,
        penalty: str | AbstractPenalty | None = "l2",
        fit_intercept: bool = True,
        random_state: Any = 0,
        lambda_1: float = 0.0,
        lambda_2: float = 0.0,
        lambda_3: float = 0.0,
        solver: str | AbstractSolver = "auto",
        tol: float = 1e-3,
        duality_gap_interval: int = 10,
        max_iter: int = 500,
        limited_memory_qning: int = 20,
        fista_restart: int = 50,
        verbose: bool = False,
        warm_start: bool = False,
        n_threads: int = -1,
        dual: Any = None,
        safe: bool = True,
    ):
        self.quantile = quantile
        self.penalty = penalty
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.lambda_3 = lambda_3
        self.solver = solver
        self.tol = tol
        self.duality_gap_interval = duality_gap_interval
        self.max_iter = max_iter
        self.limited_memory_qning = limited_memory_qning
        self.fista_restart = fista_restart
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.dual = dual
        self.safe = safe

    def _loss(self) -> AbstractLoss:
        return Pinball(self.quantile)
