from typing import Any

from ..losses import AbstractLoss
from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._classifier_base import LinearClassifier


class LogisticRegression(LinearClassifier):
    """Logistic regression, and of more than two classes the multinomial model; the settings are those of `Classifier`.

    `lambda_1 = 1 / (n C)` with the C of scikit-learn.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import LogisticRegression
        >>> X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), [0, 1, 0, 1]
        >>> print(LogisticRegression(lambda_1=0.1).fit(X, y).predict_proba([[0.0]]).round(2))
        [[0.5 0.5]]
    """

    def __init__(
        self,
        penalty: str | AbstractPenalty | None = "l2",
        loss: str | AbstractLoss = "logistic",
        fit_intercept: bool = True,
        verbose: bool = False,
        lambda_1: float = 0.0,
        lambda_2: float = 0.0,
        lambda_3: float = 0.0,
        solver: str | AbstractSolver = "auto",
        tol: float = 1e-3,
        duality_gap_interval: int = 10,
        max_iter: int = 500,
        limited_memory_qning: int = 20,
        fista_restart: int = 50,
        warm_start: bool = False,
        n_threads: int = -1,
        random_state: Any = 0,
        multi_class: str = "auto",
        dual: Any = None,
        safe: bool = True,
        class_weight: Any = None,
    ):
        self.penalty = penalty
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.verbose = verbose
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.lambda_3 = lambda_3
        self.solver = solver
        self.tol = tol
        self.duality_gap_interval = duality_gap_interval
        self.max_iter = max_iter
        self.limited_memory_qning = limited_memory_qning
        self.fista_restart = fista_restart
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.random_state = random_state
        self.multi_class = multi_class
        self.dual = dual
        self.safe = safe
        self.class_weight = class_weight
