from typing import Any

from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._regression_base import LogLinkRegressor


class PoissonRegression(LogLinkRegressor):
    """Regression of counts, `1/n sum_i exp(z_i) - y_i z_i + penalty(w)` with scores `z = X w + b`.

    Targets are nonnegative; predictions are `exp(X w + b)`. The settings are those of `Classifier`, without the loss;
    with "l2", `lambda_1` is the alpha of scikit-learn's PoissonRegressor.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import PoissonRegression
        >>> X, y = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([1.0, 4.0, 3.0, 6.0])
        >>> print(PoissonRegression(tol=1e-5).fit(X, y).predict([[0.0], [1.0]]).round(2))
        [2. 5.]
    """

    loss = "poisson"

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
