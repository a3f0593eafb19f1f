"""Paths against fits of single strengths, by every route, to the gaps they claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxopt_thoth as jt
from jaxopt_thoth import erm, losses, penalties


N, P, K = 40, 6, 3
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N, P)) + 2
TRUTH = np.array([2.0, -1.0, 0, 0, 1, 0])
Y = X @ TRUTH + 5 + 0.3 * RNG.normal(size=N)
SIGNS = np.where(np.median(Y) < Y, 1.0, -1.0)
TASKS = X @ (TRUTH[:, None] * np.ones(K)) + RNG.normal(size=(N, K))
WEIGHTS = RNG.integers(0, 4, N).astype(float)
TOL = 1e-7


def as_good_as_fits(problem, found, tol=TOL):
    assert (found.result == jt.RESULTS.converged).all()
    assert (found.gap <= tol * found.primal).all()
    for place in (1, len(found.strengths) - 1):
        here = at_strength(problem, found.strengths[place])
        params = here.join(found.coef[place], found.intercept[place])
        value = here.composite.value(params)
        np.testing.assert_allclose(value, found.primal[place], rtol=1e-9)
        assert value - here.composite.duality_gap(params) <= found.primal[place] * (1 + 1e-12)
        assert here.composite.duality_gap(params) <= 10 * tol * value


def at_strength(problem, strength):
    return erm.Problem(
        problem.loss,
        strength * problem.penalty,
        problem.design,
        problem.targets,
        weights=problem.weights,
        fit_intercept=problem.fit_intercept,
    )


def test_lasso_by_all_routes_dense_and_sparse():
    make = lambda design: erm.Problem(
        losses.Squared(), penalties.L1(1.0), design, Y, weights=WEIGHTS, fit_intercept=True
    )
    problem = make(X)
    found = erm.path(problem, num=8, tol=TOL)
    critical = erm.critical_strength(losses.Squared(), penalties.L1(1.0), X, Y, WEIGHTS, True)
    np.testing.assert_allclose(found.strengths, np.geomspace(critical, 1e-3 * critical, 8), rtol=1e-12)
    assert not found.coef[0].any() and found.coef[1].any()
    np.testing.assert_allclose(found.intercept[0], np.average(Y, weights=WEIGHTS), rtol=1e-12)
    as_good_as_fits(problem, found)
    sparse = erm.path(make(scipy.sparse.csr_array(X)), num=8, tol=TOL)
    np.testing.assert_allclose(sparse.coef, found.coef, atol=1e-9)
    by_sets = erm.path(problem, found.strengths, "cd", tol=TOL)
    as_good_as_fits(problem, by_sets)
    np.testing.assert_allclose(by_sets.coef, found.coef, atol=2e-3)


@pytest.mark.parametrize(
    "loss, penalty, targets",
    [
        (losses.Squared(), penalties.ElasticNet(0.5, 0.5), Y),
        (losses.Squared(), penalties.GroupLasso(1.0, np.arange(P)), TASKS),
        (losses.Logistic(), penalties.L1(1.0), SIGNS),
    ],
    ids=["elastic_net", "multi_task", "logistic"],
)
def test_other_families(loss, penalty, targets):
    problem = erm.Problem(loss, penalty, X, targets, fit_intercept=True)
    found = jax.jit(lambda problem: erm.path(problem, num=5, ratio=0.01, tol=1e-6))(problem)
    assert not found.coef[0].any() and found.coef[1].any()
    as_good_as_fits(problem, found, 1e-6)


def test_families_that_are_no_multiples_and_penalties_without_critical_strength():
    problem = erm.Problem(losses.Squared(), penalties.L1(1.0), X, Y)
    found = erm.path(problem, num=3, tol=1e-8, penalty_of=lambda s: penalties.ElasticNet(s, 0.1))
    np.testing.assert_allclose(found.strengths[0], np.abs(X.T @ Y).max() / N, rtol=1e-12)
    gram = X.T @ X / N
    ridge = erm.Problem(losses.Squared(), penalties.L2Squared(1.0), X, Y)
    strengths = np.array([1.0, 0.1])
    fits = erm.path(ridge, strengths, tol=1e-10)
    closed = [np.linalg.solve(gram + s * np.eye(P), X.T @ Y / N) for s in strengths]
    np.testing.assert_allclose(fits.coef, closed, atol=1e-4)
    with pytest.raises(ValueError, match="strengths must be given"):
        erm.path(ridge)


def test_bad_arguments():
    problem = erm.Problem(losses.Logistic(), penalties.L1(1.0), X, SIGNS)
    with pytest.raises(TypeError, match=r"erm\.Problem"):
        erm.path(problem.composite)
    with pytest.raises(ValueError, match="gram"):
        erm.path(problem, solver="gram")
    with pytest.raises(ValueError, match="nonnegative"):
        erm.path(problem, jnp.array([-1.0]))
    with pytest.raises(ValueError, match="vector"):
        erm.path(problem, 1.0)
    with pytest.raises(ValueError, match="ratio"):
        erm.path(problem, ratio=2.0)
    with pytest.raises(ValueError, match="num"):
        erm.path(problem, num=0)
