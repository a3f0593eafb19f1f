"""The rule that picks a solver: its table, and that what it picks solves to the tolerance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxopt_thoth as jt
from jaxopt_thoth import erm, losses, operators, penalties
from jaxopt_thoth.erm import _auto
from jaxopt_thoth.solvers._working_set_columns import AllColumns


N, P = 40, 6
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, P)) * (RNG.random((N, P)) < 0.7)
Y = X @ RNG.normal(size=P) + 0.2 * RNG.normal(size=N)
SIGNS = np.sign(Y)
WIDE = np.zeros((4, 9))


def problem(loss, penalty, design=X, targets=None, **settings):
    count = design.shape[0]
    classes = np.arange(count) % 3
    default = {"Squared": Y, "Poisson": np.abs(Y), "Multinomial": classes}.get(type(loss).__name__, SIGNS)
    return erm.Problem(loss, penalty, design, default[:count] if targets is None else targets, **settings)


@pytest.mark.parametrize(
    ("loss", "penalty", "design", "name"),
    [
        (losses.Logistic(), penalties.L1(0.1), X, "cd"),
        (losses.Logistic(), penalties.L2Squared(0.1), X, "cd"),
        (losses.SquaredHinge(), penalties.ElasticNet(0.1, 0.1), X, "cd"),
        (losses.Squared(), penalties.MCP(0.1, 3.0), WIDE, "cd"),
        (losses.Squared(), penalties.L1(0.1), WIDE, "cd"),
        (losses.Squared(), penalties.GroupLasso(0.1, np.arange(9)), WIDE, "cd"),
        (losses.Squared(), penalties.GroupLasso(0.1, np.arange(9) // 3), WIDE, "fista"),
        (losses.Squared(), penalties.L2Squared(0.1), WIDE, "fista"),
        (losses.Squared(), penalties.Zero(), X, "fista"),
        (losses.Squared(), penalties.L2Ball(1.0), X, "fista"),
        (losses.Squared(), penalties.L0(1.0), X, "ista"),
        (losses.Multinomial(), penalties.L1(0.1), X, "fista"),
        (losses.Hinge(), penalties.L2Squared(0.1), X, "chambolle-pock"),
    ],
)
def test_the_table(loss, penalty, design, name, monkeypatch):
    posed = problem(loss, penalty, design)
    free = problem(loss, penalty, design, fit_intercept=True)
    assert [_auto.auto(posed.composite), _auto.auto(free.composite)] == [name, name]
    # Coordinates in turn are nothing for an accelerator.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert _auto.auto(posed.composite) == (
        "fista" if name == "cd" and posed.penalty.is_convex else name.replace("cd", "ista")
    )


def test_a_ridge_of_several_outputs_or_many_columns_takes_momentum(monkeypatch):
    several = problem(losses.Squared(), penalties.L2Squared(0.1), X, np.stack([Y, -Y], 1))
    assert _auto.auto(several.composite) == "fista"
    monkeypatch.setattr(_auto, "FEW_COLUMNS", P - 1)
    assert _auto.auto(problem(losses.Logistic(), penalties.L2Squared(0.1)).composite) == "fista"


@pytest.mark.parametrize(
    ("loss", "penalty"),
    [(losses.Logistic(), penalties.L2Squared(0.01)), (losses.SquaredHinge(), penalties.L1(0.02))],
)
def test_what_it_picks_meets_the_tolerance_and_agrees_with_momentum(loss, penalty):
    """Loose tolerances too, which the solver is told, so that one step does no more than is asked."""
    posed = problem(loss, penalty, sp.csr_matrix(X), fit_intercept=True)
    reference = erm.fit(posed, "fista", tol=1e-11)
    gaps = []
    for tol in (1e-1, 1e-9):
        fit = erm.fit(posed, tol=tol)
        assert fit.result == jt.RESULTS.converged
        params = posed.join(fit.coef, fit.intercept)
        np.testing.assert_allclose(posed.composite.value(params), fit.primal, rtol=1e-12)
        # The certificate that the solver carries is no tighter than the truth.
        assert fit.dual <= reference.primal * (1 + 1e-12)
        assert fit.primal - reference.primal <= tol * fit.primal
        gaps.append(fit.gap)
    assert gaps[1] <= gaps[0]
    np.testing.assert_allclose(fit.coef, reference.coef, atol=1e-4)


def test_a_loose_fit_has_the_derivative_of_where_it_stopped():
    def coef(strength, tol):
        return erm.fit(problem(losses.Squared(), penalties.L2Squared(strength)), tol=tol).coef

    strength = 0.3
    closed = lambda s: jnp.linalg.solve(X.T @ X / N + s * jnp.eye(P), X.T @ Y / N)
    # One Gram matrix solves it far beyond what was asked.
    found = jax.jvp(lambda s: coef(s, 1e-6), (strength,), (1.0,))[1]
    np.testing.assert_allclose(found, jax.jvp(closed, (strength,), (1.0,))[1], rtol=1e-2)


def test_gram_matrix_from_blocks_of_rows(monkeypatch):
    """The last block overlaps the one before; the same from a dense, a sparse and a composed design."""
    monkeypatch.setattr("jaxopt_thoth.solvers._working_set_columns._BLOCK", 16)
    weights = jnp.asarray(RNG.random(N))
    whole = np.concatenate([X, np.full((N, 1), 2.0)], 1)
    expected = whole.T @ (np.asarray(weights)[:, None] * whole)
    for design in (X, sp.csr_matrix(X)):
        composed = operators.WithIntercept(design, 2.0)
        fill = lambda d: AllColumns().fill_gram(d, weights, jnp.zeros((d.shape[1],) * 2), jnp.int32(0), jnp.int32(1))
        np.testing.assert_allclose(fill(composed), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(fill(composed.design), expected[:P, :P], rtol=1e-12, atol=1e-12)
