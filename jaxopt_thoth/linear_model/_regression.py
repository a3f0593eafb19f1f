from typing import Any

from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._regression_base import LinearRegressor


class Regression(LinearRegressor):
    """Least squares, `1/(2n) |y - X w - b|^2 + penalty(w)`, of one target or of several.

    Several targets (n, k) are fitted at once, each to its own tolerance; the penalties by rows join them. The settings
    are those of `Classifier`, without the loss.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import Regression
        >>> X, y = np.eye(4), np.array([4.0, 8.0, 0.0, 0.0])
        >>> model = Regression(penalty="l1", lambda_1=0.5, fit_intercept=False, tol=1e-6).fit(X, y)
        >>> print(model.coef_.round(2))
        [2. 6. 0. 0.]
    """

    def __init__(
        self,
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
