"""Regularized linear models in the estimator protocol of scikit-learn."""

from ._classifier import Classifier as Classifier
from ._gamma_regression import GammaRegression as GammaRegression
from ._huber_regression import HuberRegression as HuberRegression
from ._l1_logistic import L1Logistic as L1Logistic
from ._lasso import Lasso as Lasso
from ._linear_svc import LinearSVC as LinearSVC
from ._logistic_regression import LogisticRegression as LogisticRegression
from ._multi_classifier import MultiClassifier as MultiClassifier
from ._multi_variate_regression import MultiVariateRegression as MultiVariateRegression
from ._poisson_regression import PoissonRegression as PoissonRegression
from ._preprocess import preprocess as preprocess
from ._quantile_regression import QuantileRegression as QuantileRegression
from ._regression import Regression as Regression
