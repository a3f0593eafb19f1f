"""Estimators against scikit-learn's optima, in its protocol, and with the words it uses for bad input."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peers
import sklearn.svm
from jax.experimental import sparse as jsparse
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import jaxopt_thoth as jt
from jaxopt_thoth.linear_model import (
    Classifier,
    GammaRegression,
    HuberRegression,
    L1Logistic,
    Lasso,
    LinearSVC,
    LogisticRegression,
    MultiClassifier,
    MultiVariateRegression,
    PoissonRegression,
    preprocess,
    QuantileRegression,
    Regression,
)
from jaxopt_thoth.linear_model._design import as_design, as_parts


N, P, LAM = 60, 6, 0.05
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, P)) + 0.3
Y = X @ RNG.normal(size=P) + 0.5 * RNG.normal(size=N) + 2
SIGNS = np.where(np.median(Y) < Y, 1, -1)
THREE = np.digitize(Y, np.quantile(Y, [0.3, 0.6]))
POSITIVE = np.exp(Y / 4)
COUNTS = RNG.poisson(np.exp(X[:, 0] / 2))
TASKS = np.stack([Y, X[:, 0] - Y], 1)
SPARSE = scipy.sparse.csr_matrix(np.where(np.abs(X) > 0.8, X, 0))
SHARP = {"tol": 1e-9, "max_iter": 5000}


def l1(w):
    return LAM * np.abs(w).sum()


def l2(w):
    return LAM / 2 * (w**2).sum()


# The estimator, that of scikit-learn by the map of the documentation, the targets, the loss and the penalty.
PAIRS = {
    "lasso": (Lasso(lambda_1=LAM, **SHARP), peers.Lasso(alpha=LAM, tol=1e-12), Y, lambda z: (z - Y) ** 2 / 2, l1),
    "elastic net": (
        Regression("elasticnet", lambda_1=LAM, lambda_2=LAM, **SHARP),
        peers.ElasticNet(alpha=2 * LAM, l1_ratio=0.5, tol=1e-12),
        Y,
        lambda z: (z - Y) ** 2 / 2,
        lambda w: l1(w) + l2(w),
    ),
    "logistic": (
        LogisticRegression(lambda_1=LAM, **SHARP),
        peers.LogisticRegression(C=1 / (N * LAM), tol=1e-10),
        SIGNS,
        lambda z: np.logaddexp(0, -SIGNS * z),
        l2,
    ),
    "multinomial": (
        LogisticRegression(lambda_1=LAM, **SHARP),
        peers.LogisticRegression(C=1 / (N * LAM), tol=1e-10, max_iter=1000),
        THREE,
        lambda z: logsumexp(z, 1) - z[np.arange(N), THREE],
        l2,
    ),
    "squared hinge": (
        LinearSVC(lambda_1=LAM, fit_intercept=False, **SHARP),
        sklearn.svm.LinearSVC(C=1 / (2 * N * LAM), fit_intercept=False, tol=1e-12, max_iter=10**6),
        SIGNS,
        lambda z: np.maximum(1 - SIGNS * z, 0) ** 2 / 2,
        l2,
    ),
    "poisson": (
        PoissonRegression(lambda_1=LAM, **SHARP),
        peers.PoissonRegressor(alpha=LAM, tol=1e-10, max_iter=1000),
        COUNTS,
        lambda z: np.exp(z) - COUNTS * z,
        l2,
    ),
    "gamma": (
        GammaRegression(lambda_1=LAM, **SHARP),
        peers.GammaRegressor(alpha=LAM, tol=1e-10, max_iter=1000),
        POSITIVE,
        lambda z: z + POSITIVE * np.exp(-z),
        l2,
    ),
    "multi-task": (
        MultiVariateRegression("l1l2", lambda_1=LAM, **SHARP),
        peers.MultiTaskLasso(alpha=LAM, tol=1e-12),
        TASKS,
        lambda z: ((z - TASKS) ** 2).sum(1) / 2,
        lambda w: LAM * np.linalg.norm(w, axis=1).sum(),
    ),
    "quantile": (
        QuantileRegression(0.3, "l1", lambda_1=LAM, **SHARP),
        peers.QuantileRegressor(quantile=0.3, alpha=LAM),
        Y,
        lambda z: np.maximum(0.3 * (Y - z), 0.7 * (z - Y)),
        l1,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_objective_is_that_of_scikit_learn(name):
    ours, theirs, targets, loss, penalty = PAIRS[name]
    ours.fit(X, targets)
    theirs.fit(X, targets)
    objective = lambda w, b: loss(X @ w + b).mean() + penalty(w)
    coef = np.squeeze(theirs.coef_)
    reference = objective(coef.T if ours.coef_.ndim == 2 else coef, np.squeeze(theirs.intercept_))
    reached = objective(ours.coef_, ours.intercept_)
    assert abs(reached - reference) <= 1e-8 * abs(reference)
    epoch, primal, dual, gap, error, seconds = ours.optimization_info_[0]
    np.testing.assert_allclose(primal[-1], reached, rtol=1e-9)
    assert (epoch[0], seconds[0]) == (0, 0)
    assert epoch[-1] == ours.n_iter_
    assert (dual <= reached + 1e-12).all() and gap[-1] <= 1e-9 and np.isnan(error).all()


def test_dtype_of_the_data_is_that_of_the_fit_whatever_the_setting_of_jax():
    exact = peers.Ridge(alpha=N * LAM).fit(X, Y)
    with jax.enable_x64(False):
        double = Regression(lambda_1=LAM, **SHARP).fit(X, Y)
        single = Regression(lambda_1=LAM, tol=1e-5).fit(X.astype(np.float32), Y)
        assert not jax.config.jax_enable_x64
    assert double.coef_.dtype == np.float64 and single.coef_.dtype == single.predict(X[:2].astype("f")).dtype == "f"
    np.testing.assert_allclose(double.coef_, exact.coef_, atol=1e-5)
    np.testing.assert_allclose(single.coef_, exact.coef_, atol=1e-2)


def test_sparse_data_of_every_kind_are_those_of_the_dense():
    dense = Regression(lambda_1=LAM, **SHARP).fit(SPARSE.toarray(), Y)
    first = Regression(lambda_1=LAM, **SHARP).fit(SPARSE, Y)
    np.testing.assert_allclose(first.coef_, dense.coef_, atol=1e-4)
    long = SPARSE.copy()
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    for design in (SPARSE.tocsc(), long, SPARSE.tocoo(), jsparse.BCOO.from_scipy_sparse(SPARSE)):
        model = Regression(lambda_1=LAM, **SHARP).fit(design, Y)
        np.testing.assert_allclose(model.coef_, first.coef_, rtol=1e-9)
        np.testing.assert_allclose(model.predict(design), first.predict(SPARSE.toarray()), rtol=1e-9)
    # Solvers that read rows alone.
    by_rows = Regression(lambda_1=LAM, solver="svrg", tol=1e-9, max_iter=5000).fit(SPARSE, Y)
    np.testing.assert_allclose(by_rows.coef_, dense.coef_, atol=1e-4)


def test_padded_sparse_design_is_the_matrix():
    matrix = scipy.sparse.csr_matrix(np.array([[0, 1, 2.0], [0, 0, 0], [3, 0, 4], [0, 0, 5]]))
    operator = as_design(as_parts(matrix, (6, 4)))
    dense = np.pad(matrix.toarray(), ((0, 2), (0, 1)))
    np.testing.assert_array_equal(operator.matvec(jnp.eye(4)), dense)
    np.testing.assert_array_equal(operator.rmatvec(jnp.eye(6)), dense.T)
    np.testing.assert_array_equal(operator.rows(jnp.arange(6)), dense)
    np.testing.assert_array_equal(operator.columns(jnp.arange(4)), dense)
    np.testing.assert_array_equal(operator.rows_matvec(jnp.array([2, 5]), jnp.ones(4)), [7, 0])
    np.testing.assert_array_equal(operator.squared_column_norms(), (dense**2).sum(0))
    np.testing.assert_array_equal(operator.squared_row_norms(), (dense**2).sum(1))


def test_sparse_columns_are_centered_without_making_them_dense():
    operator = preprocess(SPARSE, centering=True, columns=True)
    model = Regression(lambda_1=LAM / 9, **SHARP).fit(operator, Y)
    dense = preprocess(SPARSE.toarray(), centering=True, columns=True)
    np.testing.assert_allclose(operator.matvec(jnp.eye(P)), dense, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(dense, axis=0), 1)
    again = Regression(lambda_1=LAM / 9, **SHARP).fit(dense, Y)
    np.testing.assert_allclose(model.predict(operator), again.predict(dense), atol=1e-4)


def test_preprocess_rows_and_refusals():
    rows = preprocess(SPARSE)
    np.testing.assert_allclose(rows.toarray(), preprocess(SPARSE.toarray()))
    centered = preprocess(X, centering=True)
    np.testing.assert_allclose(centered.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(preprocess(SPARSE, columns=True).power(2).sum(0), 1)
    np.testing.assert_array_equal(preprocess(X, normalize=False), X)
    with pytest.raises(ValueError, match="columns=True"):
        preprocess(SPARSE, centering=True)


def test_one_against_all_is_the_binary_fit_of_each_class():
    """In one call, and each class to its own tolerance."""
    settings = {"loss": "sqhinge", "lambda_1": LAM, "tol": 1e-8, "max_iter": 5000}
    model = Classifier(**settings).fit(X, THREE)
    assert model.coef_.shape == (P, 3) and model.intercept_.shape == model.n_iter_.shape == model.dual_gap_.shape == (
        3,
    )
    assert model.optimization_info_.shape[:2] == (3, 6)
    for column in range(3):
        binary = Classifier(**settings).fit(X, column == THREE)
        np.testing.assert_allclose(model.coef_[:, column], binary.coef_, atol=1e-9)
        assert model.n_iter_[column] == binary.n_iter_
    probable = LogisticRegression(lambda_1=LAM, multi_class="ovr").fit(X, THREE)
    separate = expit(probable.decision_function(X))
    np.testing.assert_allclose(probable.predict_proba(X), separate / separate.sum(1, keepdims=True), rtol=1e-10)
    assert not hasattr(model, "predict_proba")


def test_penalties_by_rows_join_the_classes():
    joint = MultiClassifier("multiclass-logistic", "l1l2", lambda_1=0.15, tol=1e-6, max_iter=5000).fit(X, THREE)
    empty = ~joint.coef_.any(1)
    assert empty.any() and not empty.all() and joint.coef_[~empty].all()
    square = MultiClassifier("square", "l1linf", lambda_1=0.1, tol=1e-6, max_iter=5000).fit(X, SIGNS)
    # Two classes, whose columns are opposite.
    np.testing.assert_allclose(square.coef_[:, 0], -square.coef_[:, 1], atol=1e-3)
    assert square.decision_function(X).shape == (N,)
    assert square.score(X, SIGNS) > 0.8


def test_weights_are_repetitions_and_classes_have_theirs():
    weights = RNG.integers(0, 4, N)
    weighted = LogisticRegression(lambda_1=LAM, **SHARP).fit(X, SIGNS, sample_weight=weights)
    rows = np.repeat(np.arange(N), weights)
    repeated = clone(weighted).fit(X[rows], SIGNS[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    labels = np.where(np.quantile(Y, 0.7) < Y, "b", "a")
    balanced = LogisticRegression(lambda_1=LAM, class_weight="balanced", **SHARP).fit(X, labels)
    factors = np.where(labels == "b", N / (2 * np.sum(labels == "b")), N / (2 * np.sum(labels == "a")))
    np.testing.assert_allclose(balanced.coef_, clone(weighted).fit(X, labels, factors).coef_, atol=1e-10)
    assert list(balanced.classes_) == ["a", "b"] and set(balanced.predict(X)) == {"a", "b"}
    with pytest.raises(ValueError, match="one class"):
        clone(weighted).fit(X, SIGNS, sample_weight=(SIGNS > 0).astype(float))


def test_protocol_of_scikit_learn():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-4, max_iter=5000))
    grid = GridSearchCV(pipeline, {"logisticregression__lambda_1": [0.01, 1.0]}, cv=2).fit(X, SIGNS)
    assert grid.best_score_ > 0.8
    model = pickle.loads(pickle.dumps(grid.best_estimator_))
    np.testing.assert_array_equal(model.predict_proba(X), grid.predict_proba(X))
    penalized = Regression(penalty=jt.penalties.L1(LAM), solver=jt.ProximalGradient(), **SHARP)
    own = clone(penalized).fit(X, Y)
    np.testing.assert_allclose(own.coef_, PAIRS["lasso"][0].fit(X, Y).coef_, atol=1e-4)
    coef, intercept = own.get_weights()
    predicted = own.predict(X)
    assert scipy.sparse.issparse(own.sparsify().coef_)
    np.testing.assert_allclose(own.predict(X), predicted)
    np.testing.assert_array_equal(own.densify().coef_, coef)
    assert intercept == own.intercept_


def test_warm_start_and_evaluation_only():
    settings = {"lambda_1": LAM, "tol": 1e-8, "warm_start": True}
    model = LogisticRegression(max_iter=5000, **settings).fit(X, SIGNS)
    coef, steps = model.coef_, model.n_iter_
    assert model.fit(X, SIGNS).n_iter_ == 0 < steps
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-10)
    start = LogisticRegression(lambda_1=LAM, max_iter=0).fit(X, SIGNS)
    assert not start.coef_.any() and start.optimization_info_.shape == (1, 6, 1)
    np.testing.assert_allclose(start.optimization_info_[0, 1, 0], np.log(2), rtol=1e-10)


def test_what_is_not_solved_warns_with_the_gap_and_verbose_prints(capsys):
    settings = {"max_iter": 3, "tol": 1e-10, "solver": "fista"}
    model = LogisticRegression(lambda_1=1e-4, duality_gap_interval=2, verbose=True, **settings)
    with pytest.warns(ConvergenceWarning, match=r"after 3 epochs at a relative duality gap of .*raise max_iter=3"):
        model.fit(X, SIGNS)
    assert list(model.optimization_info_[0, 0]) == [0, 2, 3]
    assert len(capsys.readouterr().out.splitlines()) == 5
    with pytest.warns(ConvergenceWarning, match="error of the solver"):
        LogisticRegression(penalty=None, **settings).fit(X, SIGNS)


def test_robust_regression_does_not_see_the_outlier():
    spoiled = Y.copy()
    spoiled[3] += 1e3
    clean = Regression(tol=1e-8, max_iter=5000).fit(X, Y)
    model = HuberRegression(delta=0.5, tol=1e-8, max_iter=5000).fit(X, spoiled)
    assert (
        np.abs(model.coef_ - clean.coef_).max() < 0.3 < np.abs(clone(clean).fit(X, spoiled).coef_ - clean.coef_).max()
    )


@pytest.mark.parametrize(
    ("model", "targets", "words"),
    [
        (Regression(lambda_1=-1.0), Y, "lambda_1 must be a finite nonnegative number"),
        (Regression(tol="small"), Y, "tol must be"),
        (Regression(max_iter=1.5), Y, "max_iter must be an integer"),
        (Regression(penalty="l3"), Y, "penalty must be one of none, l2, l1"),
        (Regression(solver="newton"), Y, "solver must be one of auto"),
        (Regression("l2-ball"), Y, "radius"),
        (Regression(), np.where(Y > 3, np.nan, Y), "NaN"),
        (Regression(), Y[1:], "inconsistent numbers of samples"),
        (Classifier(loss="square-root"), SIGNS, "loss must be one of square"),
        (Classifier(multi_class="all"), SIGNS, "multi_class must be one of"),
        (Classifier("square", multi_class="multinomial"), THREE, "needs a logistic loss"),
        (Classifier("multiclass-logistic", multi_class="ovr"), THREE, "needs a loss of two classes"),
        (Classifier(), np.ones(N), "one class"),
        (Classifier(), Y, "Unknown label type"),
        (GammaRegression(), Y - 10, "positive"),
        (QuantileRegression(solver="fista"), Y, "chambolle-pock"),
        (L1Logistic(lambda_1=np.inf), SIGNS, "lambda_1"),
    ],
)
def test_bad_input_is_refused_in_words(model, targets, words):
    with pytest.raises(ValueError, match=words):
        model.fit(X, targets)
    with pytest.raises(ValueError, match="infinity"):
        Regression().fit(np.where(X > 2, np.inf, X), Y)


def test_importing_the_package_leaves_scikit_learn_alone():
    program = (
        "import sys, jaxopt_thoth as jt; assert 'sklearn' not in sys.modules; assert 'linear_model' in dir(jt); "
        "jt.linear_model.Lasso; assert not hasattr(jt, 'linear_models')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
