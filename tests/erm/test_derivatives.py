"""Derivatives of fitted coefficients in strengths, weights, targets and data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import erm, losses, penalties


N, P, K = 25, 4, 3
RNG = np.random.default_rng(6)
X = RNG.normal(size=(N, P))
Y = X @ np.array([1.5, -1.0, 0.0, 0.5]) + RNG.normal(size=N)
WEIGHTS = RNG.uniform(0.5, 1.5, N)
CLASSES = RNG.integers(0, K, N)
MOVES = RNG.normal(size=N), RNG.normal(size=(N, P)), RNG.normal(size=N)

CASES = {
    "lasso": (losses.Squared(), penalties.L1, Y, False, 0.3),
    "elastic_net": (losses.Squared(), lambda s: penalties.ElasticNet(s, 2 * s), Y, False, 0.15),
    "logistic_l1": (losses.Logistic(), penalties.L1, np.sign(Y), True, 0.1),
    "multinomial_l2": (losses.Multinomial(), penalties.L2Squared, CLASSES, False, 0.2),
    "group": (losses.Squared(), lambda s: penalties.GroupLasso(s, np.array([0, 0, 1, 1])), Y, False, 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_against_finite_differences(name):
    loss, penalty_of, targets, intercept, strength = CASES[name]
    real = isinstance(loss, losses.Squared)

    @jax.jit
    def run(strength, weights, targets, design):
        problem = erm.Problem(
            loss, penalty_of(strength), design, targets, weights=weights, fit_intercept=intercept, num_classes=K
        )
        fit = erm.fit(problem, "fista", tol=1e-14)
        return fit.coef, fit.intercept

    # Labels stay what they are.
    directions = [(1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)] + [(0.0, 0.0, 1.0, 0.0)] * real

    def moved(coordinates):
        shifted = targets + coordinates[2] * MOVES[2] if real else targets
        return run(
            strength + coordinates[0], WEIGHTS + coordinates[1] * MOVES[0], shifted, X + coordinates[3] * MOVES[1]
        )

    tangents = jax.jit(jax.jacfwd(moved))(jnp.zeros(4))
    pullback = jax.jit(jax.grad(lambda c: jnp.sum(jnp.sin(moved(c)[0]))))(jnp.zeros(4))
    step, coef = 1e-4, moved(jnp.zeros(4))[0]
    assert coef.any() and (name in ("multinomial_l2", "elastic_net") or not coef.all())
    for direction in jnp.asarray(directions):
        ahead, behind = moved(step * direction), moved(-step * direction)
        for new, old, tangent in zip(ahead, behind, tangents, strict=True):
            np.testing.assert_allclose(tangent @ direction, (new - old) / (2 * step), rtol=1e-4, atol=1e-4)
        expected = jnp.sum(jnp.cos(coef) * (tangents[0] @ direction))
        np.testing.assert_allclose(pullback @ direction, expected, rtol=1e-5, atol=1e-8)


def test_lasso_in_closed_form():
    """On the support S, dw/dstrength = -H^-1 sign(w) and dw/dy = H^-1 X_S'/n, H = X_S'X_S/n; zero elsewhere."""

    def run(strength, targets):
        problem = erm.Problem(losses.Squared(), penalties.L1(strength), X, targets)
        return erm.fit(problem, "fista", tol=1e-13).coef

    coef = run(0.3, jnp.asarray(Y))
    s = np.flatnonzero(coef)
    assert 0 < s.size < P
    inverse = np.linalg.inv(X[:, s].T @ X[:, s] / N)
    by_strength, by_targets = jax.jit(jax.jacfwd(run, (0, 1)))(0.3, jnp.asarray(Y))
    expected = np.zeros(P)
    expected[s] = -inverse @ np.sign(coef[s])
    np.testing.assert_allclose(by_strength, expected, atol=1e-7)
    rows = np.zeros((P, N))
    rows[s] = inverse @ X[:, s].T / N
    np.testing.assert_allclose(by_targets, rows, atol=1e-7)
    # Above the critical strength nothing moves.
    assert not jax.jit(jax.jacfwd(run))(10.0, jnp.asarray(Y)).any()
