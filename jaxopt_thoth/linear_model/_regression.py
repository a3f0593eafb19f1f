from ._regression_base import PlainRegressor


class Regression(PlainRegressor):
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
