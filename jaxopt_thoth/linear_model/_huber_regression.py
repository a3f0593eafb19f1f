from typing import Any

from ..losses import AbstractLoss, Huber
from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._regression_base import LinearRegressor


class HuberRegression(LinearRegressor):
    """Regression with the loss of Huber, which is linear where a residual exceeds `delta`.

    The settings are those of `Classifier`, without the loss. `delta` is in the units of the targets, where
    scikit-learn's epsilon is in units of a scale that it fits too.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import HuberRegression
        >>> X, y = np.arange(8.0)[:, None], np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 60.0, 7.0])
        >>> print(HuberRegression(delta=0.1, max_iter=5000).fit(X, y).coef_.round(1))
        [1.]
    """

    def __init__(
        self,
        delta: float = 1.0,
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
        self.delta = delta
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
        return Huber(self.delta)
