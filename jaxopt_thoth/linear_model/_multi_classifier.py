from ._classifier import Classifier


class MultiClassifier(Classifier):
    """A `Classifier` with a column of coefficients for each class, also where there are two.

    The settings are those of `Classifier`.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import MultiClassifier
        >>> X, y = np.array([[-2.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1]
        >>> model = MultiClassifier(loss="multiclass-logistic", penalty="l1l2", lambda_1=0.01, max_iter=5000).fit(X, y)
        >>> print(model.coef_.shape, model.predict([[-4.0], [2.0]]))
        (1, 2) [0 1]
    """

    _column_for_each_class = True
