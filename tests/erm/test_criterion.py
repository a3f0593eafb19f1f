"""Degrees of freedom in closed form, what the criteria are made of, and their derivatives in the strengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import erm, losses, penalties
from jaxopt_thoth.erm import criterion


N, P = 30, 5
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, P))
Y = X @ np.array([1.5, -1.0, 0.5, 0, 0]) + RNG.normal(size=N)
GRAM = X.T @ X / N


def fitted(penalty, loss=None, targets=Y, **settings):
    problem = erm.Problem(losses.Squared() if loss is None else loss, penalty, X, targets, **settings)
    return problem, erm.fit(problem, "fista", tol=1e-12)


def difference(function, at, step=1e-5):
    return (function(at + step) - function(at - step)) / (2 * step)


def test_ridge_has_the_trace_of_its_hat_matrix_and_generalized_cross_validation_its_slope():
    hat = lambda s: X @ jnp.linalg.solve(GRAM + s * jnp.eye(P), X.T / N)

    def closed(s):
        left = 1 - jnp.trace(hat(s)) / N
        return jnp.mean((Y - hat(s) @ Y) ** 2) / left**2

    problem, fit = fitted(penalties.L2Squared(0.3))
    np.testing.assert_allclose(criterion.degrees_of_freedom(problem, fit), jnp.trace(hat(0.3)), rtol=1e-6)
    estimate = criterion.degrees_of_freedom(problem, fit, key=jax.random.key(0), num_probes=200)
    np.testing.assert_allclose(estimate, jnp.trace(hat(0.3)), rtol=0.1)
    ours = lambda s: criterion.gcv(*fitted(penalties.L2Squared(s)))
    value, slope = jax.jit(jax.value_and_grad(ours))(0.3)
    np.testing.assert_allclose(value, closed(0.3), rtol=1e-6)
    np.testing.assert_allclose(slope, jax.grad(closed)(0.3), rtol=1e-4)


def test_lasso_counts_its_support_whichever_way():
    problem, fit = fitted(penalties.L1(0.4), fit_intercept=True)
    size = int((fit.coef != 0).sum())
    assert 0 < size < P
    assert criterion.degrees_of_freedom(problem, fit) == size + 1
    # A multiple of it takes the way of all penalties.
    generic, other = fitted(0.4 * penalties.L1(1.0), fit_intercept=True)
    np.testing.assert_allclose(criterion.degrees_of_freedom(generic, other), size + 1, rtol=1e-6)


def test_elastic_net_and_the_slope_of_its_risk():
    problem, fit = fitted(penalties.ElasticNet(0.2, 0.5))
    s = np.flatnonzero(fit.coef)
    assert 0 < s.size < P
    inner = GRAM[np.ix_(s, s)]
    closed = np.trace(np.linalg.solve(inner + 0.5 * np.eye(s.size), inner))
    np.testing.assert_allclose(criterion.degrees_of_freedom(problem, fit), closed, rtol=1e-6)
    risk = jax.jit(lambda s: criterion.sure(*fitted(penalties.ElasticNet(s[0], s[1])), 1.0))
    at = jnp.array([0.2, 0.5])
    squares = np.mean((Y - X @ np.asarray(fit.coef)) ** 2)
    np.testing.assert_allclose(risk(at), squares - 1 + 2 * closed / N, rtol=1e-6)
    slope = jax.jit(jax.grad(risk))(at)
    for axis in np.eye(2):
        np.testing.assert_allclose(slope @ axis, difference(lambda t, a=axis: risk(at + t * a), 0.0), rtol=1e-4)


def test_held_out_loss_and_information_of_a_logistic_fit():
    signs = np.where(Y > 0, 1.0, -1.0)

    def run(s):
        problem, fit = fitted(penalties.L1(s), losses.Logistic(), signs, fit_intercept=True)
        held = criterion.held_out_loss(problem, fit, X[::-1] + 0.1, signs)
        return held, (criterion.aic(problem, fit), criterion.bic(problem, fit), fit)

    slope, (aic, bic, fit) = jax.jit(jax.grad(run, has_aux=True))(0.05)
    held = jax.jit(lambda s: run(s)[0])
    np.testing.assert_allclose(slope, difference(held, 0.05), rtol=1e-4)
    scores = X @ np.asarray(fit.coef) + float(fit.intercept)
    total, size = np.logaddexp(0, -signs * scores).sum(), int((fit.coef != 0).sum()) + 1
    np.testing.assert_allclose([aic, bic], [2 * total + 2 * size, 2 * total + np.log(N) * size], rtol=1e-9)


def test_information_of_a_squared_loss_with_and_without_known_noise():
    problem, fit = fitted(penalties.L1(0.3))
    squares, size = np.sum((Y - X @ np.asarray(fit.coef)) ** 2), int((fit.coef != 0).sum())
    np.testing.assert_allclose(criterion.aic(problem, fit, 2.0), squares / 2 + 2 * size, rtol=1e-9)
    np.testing.assert_allclose(criterion.bic(problem, fit), N * np.log(squares / N) + np.log(N) * size, rtol=1e-9)


def test_bad_arguments():
    problem, fit = fitted(penalties.L1(0.3), weights=np.ones(N))
    with pytest.raises(ValueError, match="weights=None"):
        criterion.sure(problem, fit, 1.0)
    with pytest.raises(ValueError, match="weights=None"):
        criterion.aic(problem, fit)
    with pytest.raises(TypeError, match="pair"):
        criterion.gcv(problem, fit.coef)
    with pytest.raises(ValueError, match="shape"):
        criterion.gcv(problem, (fit.coef[None], fit.intercept))
