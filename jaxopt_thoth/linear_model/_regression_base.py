from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from ..losses import AbstractLoss
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


class LogLinkRegressor(LinearRegressor):
    """The base of the regressions whose scores are logarithms of means, of one target."""

    _several_targets = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """Predicted means, (n,)."""
        return np.exp(super().predict(X))
