from typing import Any

from ..solvers import AbstractSolver
from ._classifier_base import LinearClassifier


class L1Logistic(LinearClassifier):
    """Logistic regression with the l1 norm, and of more than two classes the multinomial model.

    With more than 1000 features, `solver="auto"` takes working sets. The settings are those of `Classifier`;
    `lambda_1 = 1 / (n C)` with the C of scikit-learn.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import L1Logistic
        >>> X, y = np.array([[-2.0, 0.1], [-1.0, 0.0], [1.0, 0.1], [2.0, 0.0]]), [0, 1, 0, 1]
        >>> print(L1Logistic(lambda_1=0.05).fit(X, y).coef_[1])
        0.0
    """

    loss = "logistic"
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
        multi_class: str = "auto",
        dual: Any = None,
        safe: bool = True,
        class_weight: Any = None,
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
        self.multi_class = multi_class
        self.dual = dual
        self.safe = safe
        self.class_weight = class_weight
