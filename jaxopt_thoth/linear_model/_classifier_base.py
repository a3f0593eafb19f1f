from typing import Any, Self

import numpy as np
import scipy.special
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ..losses import AbstractLoss, Logistic, Multinomial
from ..operators import AbstractOperator
from ._base import LinearEstimator
from ._terms import loss_of


def _is_probabilistic(estimator: "LinearClassifier") -> bool:
    loss = loss_of(estimator.loss)
    if not isinstance(loss, Logistic | Multinomial):
        raise AttributeError(
            f"loss={estimator.loss!r} has no probabilities; take a logistic loss, or wrap the estimator in "
            "scikit-learn's CalibratedClassifierCV."
        )
    return True


class LinearClassifier(ClassifierMixin, LinearEstimator):
    """The base of the classifiers: any labels, two classes or more."""

    # Whether two classes have a column of coefficients each.
    _column_for_each_class = False

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the coefficients, to the tolerance on the duality gap.

        Args:
            X: (n, p): dense, SciPy sparse, BCOO, or one of `operators`.
            y: labels (n,): numbers, booleans or strings, of at least two classes.
            sample_weight: (n,), nonnegative; None weighs all alike.
        """
        self._check_settings()
        loss = loss_of(self.loss)
        X, y = self._validated(X, y)
        if isinstance(X, AbstractOperator):
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        weights = self._weights(sample_weight, X)
        self.classes_, codes = np.unique(y, return_inverse=True)
        present = np.unique(codes if weights is None else codes[weights > 0])
        if len(present) < 2:
            raise ValueError(
                "A classifier needs samples of at least two classes, but the data contain one class of positive "
                f"weight: {self.classes_[present[0]]!r}."
            )
        if self.class_weight is not None:
            factors = compute_sample_weight(self.class_weight, y)
            weights = factors if weights is None else weights * factors
        loss, targets, num_classes = self._encoded(loss, codes, X.dtype)
        self._optimize(X, targets, weights, loss, num_classes)
        return self

    def _encoded(
        self, loss: AbstractLoss, codes: np.ndarray, dtype: Any
    ) -> tuple[AbstractLoss, np.ndarray, int | None]:
        """The loss, its targets, and the number of classes where they are the targets."""
        count = len(self.classes_)
        several = count > 2 or self._column_for_each_class
        joint = isinstance(loss, Multinomial)
        if joint and self.multi_class == "ovr":
            raise ValueError("multi_class='ovr' needs a loss of two classes; pass loss='logistic'.")
        if not joint and self.multi_class != "ovr" and several and isinstance(loss, Logistic):
            loss, joint = Multinomial(), True
        if not joint and several and self.multi_class == "multinomial":
            raise ValueError(f"multi_class='multinomial' needs a logistic loss, got loss={self.loss!r}.")
        if joint:
            return loss, codes.astype(np.int32), count
        if several:
            return loss, np.where(codes[:, None] == np.arange(count), 1, -1).astype(dtype), None
        return loss, np.where(codes == 1, 1, -1).astype(dtype), None

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of the classes, (n, k); for two classes that of the second over the first, (n,)."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.ndim == 2 and len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """The labels of the largest scores, (n,)."""
        scores = self.decision_function(X)
        codes = scores.argmax(1) if scores.ndim == 2 else (scores > 0).astype(int)
        return self.classes_[codes]

    @available_if(_is_probabilistic)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, (n, k), in the order of `classes_`; only of logistic losses."""
        return np.exp(self.predict_log_proba(X))

    @available_if(_is_probabilistic)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities, (n, k), finite where the probabilities round to zero."""
        scores = self._scores(X)
        if scores.ndim == 1:
            return scipy.special.log_expit(np.stack([-scores, scores], 1))
        # One against all normalizes the probabilities of the classes; the softmax is that of the scores.
        separate = self.multi_class == "ovr"
        return scipy.special.log_softmax(scipy.special.log_expit(scores) if separate else scores, axis=1)
