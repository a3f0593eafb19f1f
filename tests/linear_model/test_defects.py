"""What Cyanure 1.2.2 gets wrong, each a test."""

import warnings

import numpy as np
import pytest
import sklearn.linear_model as peers
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from jaxopt_thoth.linear_model import Classifier, L1Logistic, LogisticRegression, MultiClassifier, Regression


RNG = np.random.default_rng(3)
SHARP = {"tol": 1e-8, "max_iter": 5000}


def regression(n, p):
    X = RNG.normal(size=(n, p))
    return X, X @ RNG.normal(size=p) + RNG.normal(size=n)


def test_ball_of_the_euclidean_norm():
    X, y = regression(80, 5)
    model = Regression("l2-ball", lambda_1=0.7, fit_intercept=False, **SHARP).fit(X, y)
    np.testing.assert_allclose(np.linalg.norm(model.coef_), 0.7, rtol=1e-8)
    gradient = X.T @ (X @ model.coef_ - y) / 80
    np.testing.assert_allclose(gradient / np.linalg.norm(gradient), -model.coef_ / 0.7, atol=1e-4)


@pytest.mark.parametrize("solver", ["miso", "catalyst-miso", "qning-miso"])
def test_elastic_net_counts_its_quadratic_once(solver):
    X, y = regression(150, 6)
    model = Regression("elasticnet", False, lambda_1=0.1, lambda_2=0.5, solver=solver, tol=1e-7, max_iter=2000)
    model.fit(X, y)
    peer = peers.ElasticNet(alpha=0.6, l1_ratio=1 / 6, fit_intercept=False, tol=1e-12).fit(X, y)
    objective = lambda w: np.mean((y - X @ w) ** 2) / 2 + 0.1 * np.abs(w).sum() + 0.25 * (w**2).sum()
    assert abs(objective(model.coef_) / objective(peer.coef_) - 1) < 1e-7
    np.testing.assert_allclose(model.optimization_info_[0, 1, -1], objective(peer.coef_), rtol=1e-7)


def test_fused_lasso_has_the_documented_roles():
    X, y = regression(70, 6)
    y = y + 2 * X[:, :3].sum(1)
    fit = lambda solver: Regression(
        "fused-lasso", False, lambda_1=0.05, lambda_2=0.1, lambda_3=0.4, solver=solver, tol=1e-7, max_iter=5000
    ).fit(X, y)
    first, second = fit("fista").coef_, fit("ista").coef_

    def objective(w):
        variation = np.abs(np.diff(w, axis=-1)).sum(-1)
        fitted = ((y[:, None] - X @ w.T) ** 2).mean(0) / 2
        return fitted + 0.05 * np.abs(w).sum(-1) + 0.05 * (w**2).sum(-1) + 0.4 * variation

    np.testing.assert_allclose(objective(first[None]), objective(second[None]), rtol=1e-9)
    runs = np.tril(np.ones((6, 6)))
    directions = np.concatenate([RNG.normal(size=(200, 6)), runs, runs[:, ::-1], np.eye(6)])
    for size in (1e-1, 1e-3, -1e-1, -1e-3):
        assert (objective(first[None] + size * directions) >= objective(first[None]) - 1e-9).all()
    assert np.min(np.abs(np.diff(first))) < 1e-12


def test_softmax_of_features_that_are_not_normalized():
    classes = np.repeat(np.arange(3), 60)
    X = 10 + 0.1 * (RNG.normal(size=(180, 4)) + np.eye(3, 4)[classes])
    model = MultiClassifier("multiclass-logistic", "l2", False, lambda_1=1e-3, solver="miso", tol=1e-3, max_iter=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        primal = model.fit(X, classes).optimization_info_[0, 1]
    assert (primal <= np.log(3) * (1 + 1e-12)).all()
    # With an intercept, and to the tolerance.
    model = MultiClassifier("multiclass-logistic", lambda_1=1e-3, tol=1e-5, max_iter=20000).fit(X, classes)
    assert model.optimization_info_[0, 3, -1] <= 1e-5
    assert model.score(X, classes) > 0.6


def test_plateaus_end_nothing():
    X = RNG.normal(size=(300, 20)) * np.logspace(0, -1.5, 20)
    labels = X @ np.ones(20) + RNG.normal(size=300) > 0
    for solver in ("fista", "qning-miso"):
        model = LogisticRegression(lambda_1=1e-3, solver=solver, tol=1e-6, max_iter=5000, duality_gap_interval=1)
        model.fit(X, labels)
        assert model.optimization_info_[0, 3, -1] <= 1e-6


def test_probabilities_of_two_classes():
    X, y = regression(50, 3)
    model = LogisticRegression(lambda_1=0.01, **SHARP).fit(X, y > 0)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(model.decision_function(X)), rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(1e3 * X)).sum(1), 1)
    assert np.isfinite(model.predict_log_proba(1e3 * X)).all()


def test_wide_sparse_logistic_regression_with_intercept():
    X, _ = regression(60, 1200)
    labels = X[:, 0] + X[:, 1] + 1 > 0
    model = L1Logistic(lambda_1=0.1, tol=1e-7).fit(X, labels)
    signs = np.where(labels, 1, -1)
    derivative = -signs * expit(-signs * model.decision_function(X)) / 60
    assert model.intercept_ != 0 and abs(derivative.sum()) < 1e-4
    correlation = X.T @ derivative
    assert np.abs(correlation).max() <= 0.1 * (1 + 1e-2)
    used = model.coef_ != 0
    assert 0 < used.sum() < 60
    np.testing.assert_allclose(correlation[used], -0.1 * np.sign(model.coef_[used]), atol=1e-3)


def test_steps_before_the_first_check_are_not_wasted():
    X, y = regression(40, 3)
    model = Classifier(lambda_1=1e3, penalty="l1").fit(X, y > 0)
    assert model.n_iter_ == 0 and not model.coef_.any()
