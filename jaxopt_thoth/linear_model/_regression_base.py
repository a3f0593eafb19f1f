from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from ..losses import AbstractLoss
from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._base import LinearEstimator
from ._terms import loss_of


class LinearRegressor(RegressorMixin, LinearEstimator):
    """The base of the regressions: targets (n,), or (n, k) for k of them at once."""

    _several_targets = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._several_targets
        tags.target_tags.single_output = True
        return tags

    def _loss(self) -> AbstractLoss:
        return loss_of(self.loss)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the coefficients, to the tolerance on the duality gap.

        Args:
            X: (n, p): dense, SciPy sparse, BCOO, or one of `operators`.
            y: (n,), or (n, k) where the loss takes any number.
            sample_weight: (n,), nonnegative; None weighs all alike.
        """
        self._check_settings()
        X, y = self._validated(X, y, multi_output=self._several_targets, y_numeric=True)
        y = np.asarray(y, np.float64 if X.dtype == np.float64 else np.float32)
        loss = self._loss()
        loss.check_targets(y)
        self._optimize(X, y, self._weights(sample_weight, X), loss)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted targets, (n,) or (n, k)."""
        return self._scores(X)


class PlainRegressor(LinearRegressor):
    """The base of the regressions whose loss has no setting."""

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


class LogLinkRegressor(PlainRegressor):
    """The base of the regressions whose scores are logarithms of means, of one target."""

    _several_targets = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """Predicted means, (n,)."""
        return np.exp(super().predict(X))
