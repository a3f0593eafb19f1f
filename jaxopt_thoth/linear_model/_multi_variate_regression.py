from ._regression import Regression


class MultiVariateRegression(Regression):
    """A `Regression` of several targets (n, k), the name of it in old versions of Cyanure.

    The settings are those of `Classifier`, without the loss.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import MultiVariateRegression
        >>> X, Y = np.eye(2), np.array([[6.0, 8.0], [0.3, 0.4]])
        >>> model = MultiVariateRegression(penalty="l1l2", lambda_1=0.5, fit_intercept=False, tol=1e-6).fit(X, Y)
        >>> print(model.coef_.round(1))
        [[5.4 7.2]
         [0.  0. ]]
    """
