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
