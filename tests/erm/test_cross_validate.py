"""Cross-validation against a loop over sliced rows, and the derivative of its curve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import erm, losses, penalties


N, P, FOLDS = 41, 5, 4
RNG = np.random.default_rng(4)
X = RNG.normal(size=(N, P)) + 1
Y = X @ np.array([1.5, -1.0, 0, 0, 0]) + 2 + RNG.normal(size=N)
SIGNS = np.where(np.median(Y) < Y, 1.0, -1.0)
WEIGHTS = RNG.uniform(0.5, 2, N)
MADE = erm.folds(jax.random.key(0), N, FOLDS)
STRENGTHS = np.geomspace(1.0, 0.01, 4)


def test_folds_hold_every_row_out_once_and_spread_classes():
    for made in (MADE, erm.folds(jax.random.key(1), N, FOLDS, stratify=SIGNS)):
        np.testing.assert_array_equal((made == 0).sum(0), 1)
        assert set(np.asarray((made == 0).sum(1))) == {10, 11}
    counts = (made == 0).astype(int) @ (SIGNS > 0).astype(int)
    assert np.ptp(np.asarray(counts)) <= 1
    with pytest.raises(ValueError, match="num_folds"):
        erm.folds(jax.random.key(0), 3, 4)
    with pytest.raises(ValueError, match="stratify"):
        erm.folds(jax.random.key(0), 3, 2, stratify=np.zeros(2))


def lasso(rows=slice(None)):
    return erm.Problem(losses.Squared(), penalties.L1(1.0), X[rows], Y[rows], weights=WEIGHTS[rows], fit_intercept=True)


def test_gram_of_one_pass_agrees_with_slices_and_with_other_routes():
    found = erm.cross_validate(lasso(), MADE, STRENGTHS, tol=1e-10, one_standard_error=True)
    for fold, row in enumerate(np.asarray(MADE)):
        path = erm.path(lasso(row > 0), STRENGTHS, tol=1e-10)
        np.testing.assert_allclose(found.folds.coef[fold], path.coef, atol=1e-5)
        out = row == 0
        residuals = Y[out, None] - X[out] @ np.asarray(path.coef).T - np.asarray(path.intercept)
        expected = np.average(residuals**2 / 2, axis=0, weights=WEIGHTS[out])
        np.testing.assert_allclose(found.losses[fold], expected, rtol=1e-4)
        if fold == 1:
            break
    np.testing.assert_allclose(found.mean, found.losses.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, np.std(found.losses, axis=0, ddof=1) / 2, rtol=1e-12)
    best, sparse = int(found.best), int(found.best_one_standard_error)
    assert found.mean[best] == found.mean.min()
    assert found.mean[sparse] <= found.mean[best] + found.standard_error[best]
    assert sparse == 0 or found.mean[sparse - 1] > found.mean[best] + found.standard_error[best]
    assert found.strength == STRENGTHS[sparse]
    whole = erm.path(lasso(), STRENGTHS[sparse : sparse + 1], tol=1e-10)
    np.testing.assert_allclose(found.coef, whole.coef[0], atol=1e-5)
    np.testing.assert_allclose(found.intercept, whole.intercept[0], atol=1e-5)
    # Folds that are not known at compile time take a pass each.
    traced = jax.jit(lambda folds: erm.cross_validate(lasso(), folds, STRENGTHS, tol=1e-10).losses)(MADE)
    np.testing.assert_allclose(traced, found.losses, rtol=1e-5)


def test_derivative_of_the_curve():
    def curve(strengths):
        return erm.cross_validate(lasso(), MADE, strengths, tol=1e-13).mean

    strengths = jnp.asarray(STRENGTHS[1:3])
    step = 1e-5
    slope = jax.jit(jax.jvp, static_argnums=0)(curve, (strengths,), (jnp.ones(2),))[1]
    curve = jax.jit(curve)
    np.testing.assert_allclose(slope, (curve(strengths + step) - curve(strengths - step)) / (2 * step), rtol=1e-4)


def test_classifiers_scored_by_errors():
    problem = erm.Problem(losses.Logistic(), penalties.L1(1.0), X, SIGNS, fit_intercept=True)
    wrong = lambda scores, targets: (scores * targets <= 0).astype(scores.dtype)
    found = erm.cross_validate(problem, MADE, num=4, scoring=wrong)
    out = np.asarray(MADE[2] == 0)
    scores = X[out] @ np.asarray(found.folds.coef[2, 3]) + float(found.folds.intercept[2, 3])
    np.testing.assert_allclose(found.losses[2, 3], np.mean(scores * SIGNS[out] <= 0), atol=1e-12)
    assert found.mean[found.best] < 0.4
    with pytest.raises(TypeError, match="scoring"):
        erm.cross_validate(problem, MADE, scoring="accuracy")
    with pytest.raises(ValueError, match="folds must have shape"):
        erm.cross_validate(problem, MADE[:, 1:])
    with pytest.raises(ValueError, match="leave some rows out"):
        erm.cross_validate(problem, np.ones((2, N)))
