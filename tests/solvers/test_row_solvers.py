import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers._row_sampling import row_sampling
from jaxopt_thoth.solvers._row_solver import default_batch_size


KEY = jax.random.key(0)
ALL = {"SVRG": jt.SVRG, "AcceleratedSVRG": jt.AcceleratedSVRG, "SAGA": jt.SAGA, "MISO": jt.MISO}
RNG = np.random.default_rng(0)
N, P = 60, 5
X = jnp.asarray(RNG.normal(size=(N, P)) * RNG.uniform(0.3, 2.0, size=(N, 1)))
Y = X @ jnp.linspace(-1.0, 1.0, P) + 0.3 * jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)


def exact(problem, start):
    return jt.solve(problem, jt.ProximalGradient(tol=1e-12), start).params


@pytest.fixture(scope="module")
def excess():
    """The excess of the objective after each epoch, for a well and an ill conditioned problem."""
    n, p = 500, 20
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, p))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    signs = np.where(rows @ rng.normal(size=p) + 0.3 * rng.normal(size=n) > 0, 1.0, -1.0)
    model = jt.LinearModel(losses.Logistic(), rows, signs)
    strengths = jnp.array([1.0, 0.01]) / n
    problem = lambda strength: jt.Composite(model, penalties.L2Squared(strength))
    least = jax.vmap(lambda s: problem(s).value(exact(problem(s), jnp.zeros(p))))(strengths)

    def run(kind):
        solver = kind(key=KEY, batch_size=1, tol=0.0, max_steps=40)
        values = lambda s: jt.solve(problem(s), solver, jnp.zeros(p), history=True, mode="scan").history.value
        return np.maximum(jax.vmap(values)(strengths) - least[:, None], 1e-16)

    return {name: run(kind) for name, kind in ALL.items()}


def test_magnitudes_and_order_where_well_conditioned(excess):
    at = {name: rows[0, [9, 19]] for name, rows in excess.items()}
    assert at["SVRG"][0] < 1e-9 and at["SVRG"][1] < 1e-14
    for name in ("SAGA", "MISO"):
        assert 1e-8 < at[name][0] < 3e-5 and at[name][1] < 1e-8
    # Acceleration gains nothing there.
    assert 1e-6 < at["AcceleratedSVRG"][0] < 1e-3 and at["AcceleratedSVRG"][1] < 1e-7
    assert at["SVRG"][0] < min(at["SAGA"][0], at["MISO"][0]) < at["AcceleratedSVRG"][0]


@pytest.mark.slow
def test_magnitudes_and_order_where_ill_conditioned(excess):
    at = {name: rows[1, [9, 19, 39]] for name, rows in excess.items()}
    np.testing.assert_allclose(np.log10(at["SVRG"]), np.log10(at["SAGA"]), atol=0.3)
    assert np.all(at["AcceleratedSVRG"] < 0.3 * at["SVRG"]) and at["AcceleratedSVRG"][2] < 1e-3 * at["SVRG"][2]
    assert np.all(at["MISO"] > 3 * at["SAGA"])
    assert at["AcceleratedSVRG"][2] < 1e-7 and 1e-8 < at["SVRG"][2] < 1e-4 and 1e-4 < at["MISO"][2] < 1e-1


def test_quadratic_counts_once_with_a_center_and_several_outputs():
    """A dual method whose prox shrinks again by what its model has already ends at 1.99953 for 1.86650."""
    targets = jnp.stack([Y, Y**2], 1)
    penalty = penalties.Regularized(penalties.ElasticNet(0.1, 0.5), 0.2, jnp.ones((P, 2)))
    problem = jt.Composite(jt.LinearModel(losses.Squared(), X, targets), penalty)
    start = jnp.zeros((P, 2))
    expected = exact(problem, start)
    for kind in (jt.MISO, jt.SAGA):
        solution = jt.solve(problem, kind(key=KEY, batch_size=7, sampling="importance", tol=1e-9), start)
        assert solution.result == jt.RESULTS.converged
        np.testing.assert_allclose(solution.params, expected, atol=1e-8)


def test_softmax_on_shifted_features():
    """With a curvature of 1/4 in place of 1/2 the objective first rises from log 3 to 1.76."""
    rng = np.random.default_rng(1)
    rows, classes = 10 + 0.1 * rng.normal(size=(90, 4)), np.arange(90) % 3
    problem = jt.Composite(jt.LinearModel(losses.Multinomial(), rows, classes), penalties.L2Squared(0.3))
    solver = jt.MISO(key=KEY, batch_size=1, tol=0.0, max_steps=100)
    values = np.asarray(jt.solve(problem, solver, jnp.zeros((4, 3)), history=True).history.value)
    assert np.all(values < 1.4) and values[-1] <= np.log(3)
    least = problem.value(exact(problem, jnp.zeros((4, 3))))
    assert values[-1] < least + 1e-3


def test_rows_of_no_weight_do_not_matter():
    """Two folds at once, in batches that do not divide the rows; a row of no weight holds what would spoil the fit."""
    folds = jnp.asarray(np.arange(N)[None] % 3 != np.arange(2)[:, None], float)
    penalty = penalties.ElasticNet(0.05, 0.3)

    def problem(weights):
        targets = jnp.where(weights > 0, Y, 1e6)
        return jt.Composite(jt.LinearModel(losses.Squared(), X, targets, weights), penalty)

    for fold in range(2):
        kept = np.asarray(folds[fold] > 0)
        alone = jt.Composite(jt.LinearModel(losses.Squared(), X[kept], Y[kept]), penalty)
        expected = exact(alone, jnp.zeros(P)) if fold == 0 else jnp.stack([expected, exact(alone, jnp.zeros(P))])
    for kind, sampling in ((jt.SVRG, "uniform"), (jt.SAGA, "uniform"), (jt.MISO, "importance")):
        solver = kind(key=KEY, batch_size=8, sampling=sampling, tol=1e-9)
        fit = lambda weights, solver=solver: jt.solve(problem(weights), solver, jnp.zeros(P))
        solution = jax.vmap(fit)(folds)
        assert np.all(solution.result == jt.RESULTS.converged)
        np.testing.assert_allclose(solution.params, expected, atol=1e-7)


@pytest.mark.parametrize("sampling", ["uniform", "importance"])
def test_draws_are_unbiased_and_without_copies(sampling):
    weights = jnp.asarray(np.random.default_rng(2).uniform(size=N)).at[3].set(0.0)
    model = jt.LinearModel(losses.Squared(), X, Y, weights)
    plan = row_sampling(model, 7, sampling, "table")
    draws = jax.vmap(lambda key: plan.draw(model, key))(jax.random.split(KEY, 2000))
    indices, factors = np.asarray(draws.indices).reshape(-1, 7), np.asarray(draws.factors).reshape(-1, 7)
    mean = np.bincount(indices.ravel(), factors.ravel(), N) / len(indices)
    np.testing.assert_allclose(mean, model.row_weights, atol=6 * factors.max() / np.sqrt(len(indices)) / 7**0.5)
    assert np.all(np.diff(indices, axis=1) >= 0)
    repeated = np.diff(indices, axis=1, prepend=-1) == 0
    if draws.first is None:
        assert not repeated.any()
    else:
        np.testing.assert_array_equal(repeated, ~np.asarray(draws.first).reshape(-1, 7))


def test_smoothness_of_a_batch_interpolates():
    rows = np.asarray(jnp.sum(X**2, 1))
    whole = np.linalg.norm(X, 2) ** 2 / N
    single, tenth, full = (row_sampling(SQUARED, b, "uniform", "gradient").smoothness for b in (1, 10, N))
    np.testing.assert_allclose(single, rows.max())
    np.testing.assert_allclose(tenth, 0.9 * 1.1 * whole + 0.1 * rows.max())
    assert whole <= full < 1.1 * whole + rows.max() / N < tenth < single
    np.testing.assert_allclose(row_sampling(SQUARED, 1, "importance", "gradient").smoothness, rows.mean())
    # Half uniform, half in proportion: at most twice the mean.
    assert rows.mean() < row_sampling(SQUARED, 1, "importance", "table").smoothness < 2 * rows.mean()


@pytest.mark.parametrize("name", ALL)
def test_derivative_in_the_strength(name):
    solver = ALL[name](key=KEY, batch_size=6, tol=1e-11, max_steps=2000)

    def fit(strength):
        problem = jt.Composite(SQUARED, penalties.ElasticNet(0.1, strength))
        return jnp.sum(jt.solve(problem, solver, jnp.zeros(P)).params ** 2)

    step = 1e-4
    values, slopes = jax.vmap(jax.value_and_grad(fit))(jnp.array([0.5 - step, 0.5, 0.5 + step]))
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / (2 * step), rtol=1e-6)


def test_sparse_designs_take_the_same_steps():
    dense = np.asarray(X) * (np.random.default_rng(3).uniform(size=X.shape) < 0.4)
    penalty = penalties.ElasticNet(0.01, 0.1)
    for kind in (jt.AcceleratedSVRG, jt.MISO):
        # Single rows: their steps do not depend on an estimate of the norm of the design.
        solver = kind(key=KEY, batch_size=1, tol=0.0, max_steps=3)
        problems = [
            jt.Composite(jt.LinearModel(losses.Squared(), A, Y), penalty)
            for A in (dense, scipy.sparse.csr_array(dense))
        ]
        one, other = (jt.solve(problem, solver, jnp.zeros(P)).params for problem in problems)
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_default_batch_of_a_sparse_design_outweighs_the_parameters():
    sparse = scipy.sparse.csr_array(np.arange(2_000_000).reshape(2000, 1000) % 100 == 0, dtype=float)
    size = lambda design: default_batch_size(jt.LinearModel(losses.Squared(), design, np.zeros(design.shape[0])))
    assert size(sparse) == size(jt.operators.WithIntercept(sparse)) == 40
    assert size(np.zeros((2000, 2))) == 32 and size(np.zeros((500, 2))) == 10 and size(np.zeros((3, 2))) == 1


def test_table_of_a_dual_method_closes_the_gap():
    signs = jnp.sign(Y)
    problem = jt.Composite(jt.LinearModel(losses.Logistic(), X, signs), penalties.L2Squared(0.1))
    solver = jt.MISO(key=KEY, batch_size=5, tol=1e-10)
    start = jnp.zeros(P)
    state = solver.init(problem, start)
    step = eqx.filter_jit(lambda params, state: solver.step(problem, params, state))
    gaps, again = [], None
    params = start
    for epoch in range(60):
        params, state = step(params, state)
        again = params if epoch == 0 else again
        dual = solver.dual_candidate(problem, params, state)
        conjugates = jnp.mean(problem.smooth.loss.conjugate(dual, signs))
        gaps.append(float(problem.value(params) + conjugates + problem.penalty.conjugate(-X.T @ dual / N)))
    assert gaps[0] > 1e-4 and min(gaps) > -1e-13 and gaps[-1] < 1e-10
    np.testing.assert_allclose(dual, problem.smooth.loss.derivative(X @ params, signs), atol=1e-5)
    # The same key gives the same run.
    np.testing.assert_array_equal(again, step(start, solver.init(problem, start))[0])


def test_refusals():
    start = jnp.zeros(P)
    lasso = jt.Composite(SQUARED, penalties.L1(0.1))
    with pytest.raises(ValueError, match="MISO needs a strongly convex penalty"):
        jt.solve(lasso, jt.MISO(key=KEY), start)
    with pytest.raises(ValueError, match="batch_size must be at most the 60 rows"):
        jt.solve(lasso, jt.SVRG(key=KEY, batch_size=61), start)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        jt.SVRG(key=KEY, batch_size=0)
    with pytest.raises(ValueError, match="sampling must be one of"):
        jt.SAGA(key=KEY, sampling="alias")
    with pytest.raises(ValueError, match="unbounded for Poisson"):
        jt.solve(jt.Composite(jt.LinearModel(losses.Poisson(), X, jnp.ones(N))), jt.SAGA(key=KEY), start)
    with pytest.raises(ValueError, match="rows of a LinearModel, got a Quadratic"):
        jt.solve(jt.Composite(jt.Quadratic(jnp.eye(P), start)), jt.AcceleratedSVRG(key=KEY), start)
