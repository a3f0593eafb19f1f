"""Fits against closed forms and reference values, to the gap they claim, batched, weighted and differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import erm, losses, operators, penalties


N, P = 30, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P)) + 0.5
Y = X[:, 0] - 2 * X[:, 1] + 3 + 0.3 * RNG.normal(size=N)
SIGNS = np.sign(Y - np.median(Y) + 0.1)
WEIGHTS = RNG.integers(0, 4, N).astype(float)


def loaded(name):
    x, y = getattr(pytest.importorskip("sklearn.datasets"), name)(return_X_y=True)
    return operators.Standardized.of(x), y


def test_lasso_of_reference_with_its_record():
    x, y = loaded("load_diabetes")
    y = (y - y.mean()) / y.std()
    strength = erm.critical_strength(losses.Squared(), penalties.L1(1.0), x, y) / 20
    np.testing.assert_allclose(strength, 0.02932, atol=5e-6)
    fit = erm.fit(erm.Problem(losses.Squared(), penalties.L1(strength), x, y), "fista", tol=1e-9, history=True)
    assert fit.result == jt.RESULTS.converged
    np.testing.assert_allclose(fit.primal, 0.276860614, atol=1e-9)
    assert jnp.sum(fit.coef != 0) == 7
    checks = int(fit.num_steps) // 10 + 1
    assert jnp.isnan(fit.history[checks:]).all()
    step, primal, dual, gap = fit.history[:checks].T
    np.testing.assert_array_equal(step, 10 * np.arange(checks))
    assert (np.diff(primal) <= 0).all() and (np.diff(dual) >= 0).all()
    # Weak duality at every check, and the gap bounds the distance to the minimum.
    assert (dual <= fit.primal).all()
    assert (gap * primal >= primal - 0.276860614 - 1e-9).all()
    assert gap[-1] <= 1e-9 < gap[-2]


def test_logistic_of_reference():
    x, y = loaded("load_breast_cancer")
    problem = erm.Problem(losses.Logistic(), penalties.L2Squared(1 / len(y)), x, 2 * y - 1)
    fit = erm.fit(problem, "fista", tol=1e-8)
    np.testing.assert_allclose(fit.primal, 0.066569008, atol=1e-9)


def test_weights_repeat_rows_and_the_critical_strength_empties_the_model():
    """One batch over strengths and weights, the last row of which leaves every third row out."""
    keep = (np.arange(N) % 3 > 0).astype(float)
    weights = jnp.asarray(np.stack([WEIGHTS, WEIGHTS, keep]))
    critical = lambda w: erm.critical_strength(losses.Squared(), penalties.L1(1.0), X, Y, w, True)
    strengths = critical(WEIGHTS) * jnp.asarray([1.0001, 0.999, 0.1])

    @jax.jit
    @jax.vmap
    def run(strength, weights):
        problem = erm.Problem(losses.Squared(), penalties.L1(strength), X, Y, weights=weights, fit_intercept=True)
        return erm.fit(problem, tol=1e-10)

    fits = run(strengths, weights)
    assert (fits.result == jt.RESULTS.converged).all()
    assert not fits.coef[0].any()
    assert fits.num_steps[0] == 0
    np.testing.assert_allclose(fits.intercept[0], np.average(Y, weights=WEIGHTS), rtol=1e-12)
    assert fits.coef[1].any()
    rows = [np.repeat(np.arange(N), np.asarray(w).astype(int)) for w in weights]
    for fit, strength, row in zip([jax.tree.map(lambda a, i=i: a[i], fits) for i in (1, 2)], strengths[1:], rows[1:]):
        repeated = erm.Problem(losses.Squared(), penalties.L1(strength), X[row], Y[row], fit_intercept=True)
        params = repeated.join(fit.coef, fit.intercept)
        np.testing.assert_allclose(repeated.composite.value(params), fit.primal, rtol=1e-12)
        # The best dual point may be that of another check.
        assert repeated.composite.duality_gap(params) <= 1e-8 * fit.primal


def test_ridge_has_the_closed_form_and_its_derivatives():
    def closed(strength, weights, targets, design):
        share = weights / weights.sum()
        x, y = design - (share @ design)[None, :], targets - share @ targets
        coef = jnp.linalg.solve(x.T @ (share[:, None] * x) + strength * jnp.eye(P), x.T @ (share * y))
        return coef, share @ (targets - design @ coef)

    def fitted(*settings):
        strength, weights, targets, design = settings
        problem = erm.Problem(
            losses.Squared(), penalties.L2Squared(strength), design, targets, weights=weights, fit_intercept=True
        )
        fit = erm.fit(problem, "fista", tol=1e-14)
        return fit.coef, fit.intercept

    settings = tuple(map(jnp.asarray, (0.3, WEIGHTS + 1, Y, X)))
    direction = (RNG.normal(size=P), RNG.normal())
    project = lambda fn: lambda *s: sum(jnp.vdot(a, b) for a, b in zip(fn(*s), direction, strict=True))
    found, slopes = jax.jit(jax.value_and_grad(project(fitted), range(4)))(*settings)
    wanted, closed_slopes = jax.value_and_grad(project(closed), range(4))(*settings)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    for one, other in zip(slopes, closed_slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_two_classes_are_one_sign():
    labels = ((SIGNS + 1) // 2).astype(int)
    penalty = penalties.L2Squared
    softmax = erm.fit(erm.Problem(losses.Multinomial(), penalty(0.2), X, labels, fit_intercept=True), tol=1e-9)
    signs = erm.fit(erm.Problem(losses.Logistic(), penalty(0.1), X, SIGNS, fit_intercept=True), tol=1e-9)
    np.testing.assert_allclose(softmax.primal, signs.primal, rtol=1e-8)
    np.testing.assert_allclose(softmax.coef[:, 1] - softmax.coef[:, 0], signs.coef, atol=1e-3)
    np.testing.assert_allclose(softmax.coef.sum(1), 0, atol=1e-3)


def test_a_gap_of_single_precision_is_honest():
    single = lambda a: jnp.asarray(a, jnp.float32)
    problem = erm.Problem(losses.Logistic(), penalties.L2Squared(single(0.01)), single(X), SIGNS, fit_intercept=True)
    fit = erm.fit(problem, tol=1e-6)
    assert fit.result == jt.RESULTS.converged and fit.coef.dtype == jnp.float32
    double = erm.Problem(
        losses.Logistic(), penalties.L2Squared(0.01), single(X).astype(float), SIGNS, fit_intercept=True
    )
    params = double.join(fit.coef.astype(float), fit.intercept.astype(float))
    assert double.composite.duality_gap(params) <= 2e-6 * float(fit.primal)
    np.testing.assert_allclose(double.composite.value(params), float(fit.primal), rtol=2e-7)


def test_without_a_bound_the_error_of_the_solver_stops():
    problem = erm.Problem(losses.Squared(), penalties.NonNegative(), X, Y)
    fit = erm.fit(problem, tol=1e-9, history=True)
    assert fit.result == jt.RESULTS.converged
    assert fit.dual == -jnp.inf and fit.gap == jnp.inf
    assert problem.penalty.subdifferential_distance(fit.coef, problem.model.gradient(fit.coef)) <= 1e-7


def test_it_never_stops_because_nothing_moves():
    problem = erm.Problem(losses.Logistic(), penalties.L1(0.01), X, SIGNS)
    for steps, settings in ((0, {}), (7, {"gap_every": 3})):
        fit = erm.fit(problem, "ista", tol=0.0, max_steps=steps, history=True, **settings)
        assert fit.result == jt.RESULTS.max_steps_reached
        assert fit.num_steps == steps
        # Every row of the record is filled.
        np.testing.assert_array_equal(fit.history[:, 0], [0, 3, 6, 7] if steps else [0])
    assert fit.primal == fit.history[-1, 1]
    again = erm.fit(problem, "ista", start=fit, tol=0.0, max_steps=0)
    np.testing.assert_allclose(again.primal, fit.primal, rtol=1e-14)


def test_a_loss_with_kinks_takes_a_splitting():
    problem = erm.Problem(losses.Hinge(), penalties.L2Squared(0.1), X, SIGNS)
    fit = erm.fit(problem, tol=1e-3)
    assert fit.result == jt.RESULTS.converged
    assert fit.dual <= fit.primal <= fit.dual + 1e-3 * fit.primal
    with pytest.raises(ValueError, match="needs a loss without kinks, got Hinge"):
        erm.fit(problem, "fista")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"solver": "sgd"}, ValueError, "solver must be one of auto, ista"),
        ({"solver": 3}, TypeError, "solver must be a name or a solver"),
        ({"solver": "svrg"}, ValueError, "pass key="),
        ({"solver": "qning-miso"}, ValueError, "pass key="),
        ({"tol": -1.0}, ValueError, "tol must be nonnegative"),
        ({"gap_every": 0}, ValueError, "gap_every must be at least 1"),
        ({"start": jnp.zeros(P)}, TypeError, "start must be a pair"),
        ({"start": (jnp.zeros(3), 0.0)}, ValueError, "start must have a coef of shape"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    problem = erm.Problem(losses.Squared(), penalties.L1(0.1), X, Y)
    with pytest.raises(error, match=message):
        erm.fit(problem, **arguments)


def test_bad_problems_are_named():
    with pytest.raises(TypeError, match="loss must be one of"):
        erm.Problem("logistic", penalties.L1(0.1), X, Y)
    with pytest.raises(TypeError, match="penalty must be one of"):
        erm.Problem(losses.Squared(), 0.1, X, Y)
    with pytest.raises(ValueError, match="weights must have shape"):
        erm.Problem(losses.Squared(), penalties.L1(0.1), X, Y, weights=np.ones(3))
    with pytest.raises(ValueError, match="num_classes must exceed"):
        erm.Problem(losses.Multinomial(), penalties.L1(0.1), X, np.arange(N) % 3, num_classes=2)
    with pytest.raises(TypeError, match=r"problem must be an erm\.Problem"):
        erm.fit(jt.Composite(jt.LinearModel(losses.Squared(), X, Y)))
