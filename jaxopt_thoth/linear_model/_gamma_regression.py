from ._regression_base import LogLinkRegressor


class GammaRegression(LogLinkRegressor):
    """Regression of positive targets, `1/n sum_i z_i + y_i exp(-z_i) + penalty(w)` with scores `z = X w + b`.

    Targets are positive; predictions are `exp(X w + b)`. The settings are those of `Classifier`, without the loss; with
    "l2", `lambda_1` is the alpha of scikit-learn's GammaRegressor.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import GammaRegression
        >>> X, y = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([1.0, 4.0, 3.0, 6.0])
        >>> print(GammaRegression(tol=1e-5).fit(X, y).predict([[0.0], [1.0]]).round(2))
        [2. 5.]
    """

    loss = "gamma"
