import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties


N, P = 30, 6
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)) * np.logspace(0, 0.5, P))
Y = jnp.asarray(X @ np.array([1.0, 0, 0, -0.5, 0, 0.3]) + 0.3 * RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
TWO = jt.LinearModel(losses.Squared(), X, jnp.stack([Y, 1 - Y], 1))
LASSO = jt.Composite(SQUARED, penalties.L1(0.1))
START = jnp.zeros(P)
TIGHT = jt.BlockCoordinateDescent(tol=1e-11)
RANDOM = jt.BlockCoordinateDescent("random", key=jax.random.key(0), tol=1e-11)
GREEDY = jt.BlockCoordinateDescent("greedy", tol=1e-11)
GROUPS = np.array([0, 1, 2, 2, 0, 2])
CASES = {
    "elastic net": (SQUARED, penalties.ElasticNet(0.1, 0.2), TIGHT),
    "weighted lasso, greedy": (SQUARED, penalties.L1(jnp.linspace(0, 0.3, P)), GREEDY),
    "logistic": (jt.LinearModel(losses.Logistic(), X, jnp.sign(Y)), penalties.L1(0.02), TIGHT),
    "box quadratic, greedy": (SQUARED.as_quadratic(), penalties.Box(-0.1, jnp.linspace(0, 1, P)), GREEDY),
    "groups, random": (SQUARED, penalties.GroupLasso(0.1, GROUPS, jnp.array([1.0, 2, 3])), RANDOM),
    "groups of a quadratic": (SQUARED.as_quadratic(), penalties.GroupLInf(0.2, GROUPS), TIGHT),
    "sparse groups, greedy": (SQUARED, penalties.SparseGroupLasso(0.05, 0.1, GROUPS), GREEDY),
    "several outputs": (TWO, penalties.GroupLasso(0.2, np.arange(P)), TIGHT),
    "scaled and translated": (SQUARED, 2.0 * penalties.Translated(penalties.L1(0.05), 0.2), TIGHT),
}


def solved(problem, solver=TIGHT, start=START, **settings):
    solution = jt.solve(problem, solver, start, **settings)
    assert solution.result == jt.RESULTS.converged
    return solution


@pytest.mark.parametrize("name", CASES)
def test_solutions_meet_their_optimality_conditions(name):
    smooth, penalty, solver = CASES[name]
    start = START if smooth is not TWO else jnp.zeros((P, 2))
    w = solved(jt.Composite(smooth, penalty), solver, start).params
    assert jnp.any(w != 0)
    # Infinite off the box, and for anything but an exact kink.
    assert penalty.subdifferential_distance(w, smooth.gradient(w)) <= 1e-9


def test_numbers_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    settings = {"fit_intercept": False, "tol": 1e-14, "max_iter": 10_000}
    lasso = linear_model.Lasso(0.1, **settings).fit(np.asarray(X), np.asarray(Y))
    assert 0 < np.sum(lasso.coef_ != 0) < P
    np.testing.assert_allclose(solved(LASSO).params, lasso.coef_, atol=1e-9)
    net = linear_model.ElasticNet(0.3, l1_ratio=0.6, **settings).fit(np.asarray(X), np.asarray(Y))
    problem = jt.Composite(SQUARED, penalties.ElasticNet(0.18, 0.12))
    np.testing.assert_allclose(solved(problem).params, net.coef_, atol=1e-9)


def test_an_epoch_is_the_textbook_sweep_and_descends():
    x, y, w = np.asarray(X), np.asarray(Y), np.zeros(P)
    values = []
    for _ in range(3):
        for j in range(P):
            rest = y - x @ w + x[:, j] * w[j]
            correlation = x[:, j] @ rest / N
            w[j] = np.sign(correlation) * max(abs(correlation) - 0.1, 0) / (x[:, j] @ x[:, j] / N)
        values.append(float(LASSO.value(w)))
    solver = jt.BlockCoordinateDescent(tol=0.0, max_steps=3)
    for mode in ("while", "scan"):
        solution = jt.solve(LASSO, solver, START, mode=mode, history=True)
        np.testing.assert_allclose(solution.params, w, atol=1e-14)
        np.testing.assert_allclose(solution.history.value, values, rtol=1e-13)
    assert np.all(np.diff(values) < 0)
    # By hand, and unrolled: the steps are the same.
    params, state = START, solver.init(LASSO, START)
    step = jax.jit(lambda params, state: solver.step(LASSO, params, state))
    for _ in range(3):
        params, state = step(params, state)
    np.testing.assert_allclose(params, w, atol=1e-14)
    np.testing.assert_allclose(state.image, X @ w, atol=1e-13)
    np.testing.assert_allclose(solver.error(LASSO, params, state), solution.error, rtol=1e-9)


def test_greedy_updates_go_where_they_count():
    """With orthogonal columns each update finishes its coordinate: as many as the support has are enough."""
    q, _ = np.linalg.qr(RNG.normal(size=(N, P)))
    model = jt.LinearModel(losses.Squared(), np.sqrt(N) * q * np.logspace(0, 1, P), Y)
    for solver in (GREEDY, RANDOM):
        solution = solved(jt.Composite(model, penalties.L1(0.01)), solver)
        assert solution.num_steps == 1
    cyclic, greedy = solved(LASSO), solved(LASSO, GREEDY)
    assert greedy.num_steps < cyclic.num_steps
    np.testing.assert_allclose(greedy.params, cyclic.params, atol=1e-10)


def test_derivatives_and_batches():
    def fit(strength, key):
        problem = jt.Composite(SQUARED, penalties.L1(strength))
        solver = jt.BlockCoordinateDescent("random", key=key, tol=1e-12)
        return jt.solve(problem, solver, START).params

    keys = jax.random.split(jax.random.key(1), 4)
    strengths = jnp.array([0.1 + 1e-4, 0.1 - 1e-4, 0.1, 10.0])
    rows = jax.jit(jax.vmap(fit))(strengths, keys)
    slope = jax.jit(jax.jacrev(fit))(0.1, keys[0])
    np.testing.assert_allclose(slope, (rows[0] - rows[1]) / 2e-4, atol=1e-6)
    # The key leads to the same solution by another path.
    np.testing.assert_allclose(rows[2], solved(LASSO).params, atol=1e-10)
    assert jnp.all(rows[3] == 0)


@pytest.mark.slow
def test_unrolled_derivatives_pass_through_the_epochs():
    def fit(strength):
        problem = jt.Composite(SQUARED, penalties.L1(strength))
        return jt.solve(problem, jt.BlockCoordinateDescent(tol=0.0, max_steps=4), START, adjoint=jt.implicit.Unrolled())

    value = jax.jit(lambda s: jnp.sum(fit(s).params ** 2))
    slope = jax.jit(jax.grad(value))(0.1)
    np.testing.assert_allclose(slope, (value(0.1 + 1e-6) - value(0.1 - 1e-6)) / 2e-6, rtol=1e-6)


def test_single_precision_sparse_designs_and_columns_of_zeros():
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), LASSO)
    solution = solved(single, jt.BlockCoordinateDescent())
    assert solution.params.dtype == solution.error.dtype == jnp.float32
    np.testing.assert_allclose(solution.params, solved(LASSO).params, atol=1e-3)
    holes = np.asarray(X) * (RNG.uniform(size=X.shape) < 0.3)
    holes[:, 2] = 0
    dense, sparse = (jt.LinearModel(losses.Squared(), a, Y) for a in (holes, scipy.sparse.csr_array(holes)))
    w = solved(jt.Composite(dense, penalties.L1(0.05)), start=jnp.ones(P)).params
    assert w[2] == 0
    np.testing.assert_allclose(solved(jt.Composite(sparse, penalties.L1(0.05)), start=jnp.ones(P)).params, w, atol=1e-9)


def test_results_other_than_converged():
    assert jt.solve(LASSO, jt.BlockCoordinateDescent(max_steps=2, tol=0.0), START).result == (
        jt.RESULTS.max_steps_reached
    )
    bad = jt.Composite(jt.Quadratic(jnp.eye(P), Y[:P].at[0].set(jnp.nan)), penalties.L1(0.1))
    assert jt.solve(bad, TIGHT, START).result == jt.RESULTS.nonfinite
    empty = jax.jit(lambda low: jt.solve(jt.Composite(SQUARED, penalties.Box(low, 0.0)), TIGHT, START).result)
    assert empty(1.0) == jt.RESULTS.infeasible


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selection": "best"}, "selection must be one of"),
        ({"selection": "random"}, "key goes with"),
        ({"key": jax.random.key(0)}, "key goes with"),
        ({"tol": -1.0}, "tol must be nonnegative"),
        ({"max_steps": -1}, "max_steps must be nonnegative"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jt.BlockCoordinateDescent(**arguments)


@pytest.mark.parametrize(
    ("smooth", "penalty", "message"),
    [
        (SQUARED, penalties.Simplex(), "sum over entries or over disjoint groups, got Simplex"),
        (SQUARED, penalties.GroupLasso(0.1, np.arange(3)), "params have 6 rows but groups"),
        (jt.FunctionTerm(jnp.sum), penalties.L1(0.1), "needs a Quadratic, or a LinearModel"),
        (jt.LinearModel(losses.Poisson(), X, jnp.ones(N)), penalties.L1(0.1), "bounded curvature, got Poisson"),
    ],
)
def test_problems_that_do_not_fit_are_refused(smooth, penalty, message):
    with pytest.raises(ValueError, match=message):
        jt.BlockCoordinateDescent().init(jt.Composite(smooth, penalty), START)


def test_traced_groups_have_no_known_sizes():
    def fit(groups):
        return TIGHT.init(jt.Composite(SQUARED, penalties.GroupLasso(0.1, groups, num_groups=3)), START)

    with pytest.raises(ValueError, match="build the penalty outside of jit"):
        jax.jit(fit)(GROUPS)
