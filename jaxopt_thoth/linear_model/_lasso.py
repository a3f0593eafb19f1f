from typing import Any

from ..solvers import AbstractSolver
from ._regression_base import LinearRegressor


class Lasso(LinearRegressor):
    """Least squares with the l1 norm, `1/(2n) |y - X w - b|^2 + lambda_1 |w|_1`.

    With more than 1000 features, `solver="auto"` takes working sets. The settings are those of `Classifier`;
    `lambda_1` is the alpha of scikit-learn.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import Lasso
        >>> X, y = np.eye(4), np.array([4.0, 8.0, 0.0, 0.0])
        >>> print(Lasso(lambda_1=0.5, fit_intercept=False, tol=1e-6).fit(X, y).coef_.round(2))
        [2. 6. 0. 0.]
    """

    penalty = "l1"
    _sets_where_wide = True

    def __init__(
        self,
        lambda_1: float = 0.0,
        solver: str | AbstractSolver = "auto",
        tol: float = 1e-3,
        duality_gap_interval: int = 10,
        max_iter: int = 500,
        limited_memory_qning: int = 20,
        fista_restart: int = 50,
        verbose: bool = False,
        warm_start: bool = False,
        n_threads: int = -1,
        random_state: Any = 0,
        fit_intercept: bool = True,
        dual: Any = None,
        safe: bool = True,
    ):
        self.lambda_1 = lambda_1
        self.solver = solver
        self.tol = tol
        self.duality_gap_interval = duality_gap_interval
        self.max_iter = max_iter
        self.limited_memory_qning = limited_memory_qning
        self.fista_restart = fista_restart
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.dual = dual
        self.safe = safe
