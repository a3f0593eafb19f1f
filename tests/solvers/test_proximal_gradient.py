import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties


N, P = 30, 6
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)) * np.logspace(0, 0.5, P))
Y = jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
LASSO = jt.Composite(SQUARED, penalties.L1(0.1))
TIGHT = jt.ProximalGradient(tol=1e-12)
START = jnp.zeros(P)
VARIANTS = {
    "fista": {},
    "ista": {"accelerated": False},
    "fixed step": {"step_size": 0.05},
    "lipschitz": {"line_search": False},
    "search from a step": {"step_size": 100.0, "line_search": True},
    "search from a timid step": {"step_size": 1e-6, "line_search": True},
    "monotone": {"monotone": True},
    "monotone ista": {"monotone": True, "accelerated": False},
    "monotone without restart": {"monotone": True, "restart": False},
    "without restart": {"restart": False},
    "without growth": {"growth": 1.0},
    "unrolled": {"unrolled": True},
}


def solved(problem, solver=TIGHT, start=START, **settings):
    solution = jt.solve(problem, solver, start, **settings)
    assert solution.result == jt.RESULTS.converged
    return solution


@pytest.fixture(scope="module")
def reference():
    return solved(LASSO).params


def test_lasso_with_orthogonal_design_is_soft_thresholding():
    q, _ = np.linalg.qr(RNG.normal(size=(N, P)))
    problem = jt.Composite(jt.LinearModel(losses.Squared(), np.sqrt(N) * q, Y), penalties.L1(0.1))
    correlation = q.T @ Y / np.sqrt(N)
    expected = np.sign(correlation) * np.maximum(np.abs(correlation) - 0.1, 0)
    np.testing.assert_allclose(solved(problem).params, expected, atol=1e-11)


def test_ridge_is_a_linear_system():
    problem = jt.Composite(SQUARED, penalties.L2Squared(0.3))
    expected = np.linalg.solve(X.T @ X / N + 0.3 * np.eye(P), X.T @ Y / N)
    np.testing.assert_allclose(solved(problem).params, expected, atol=1e-11)


def test_nonnegative_least_squares():
    expected, _ = scipy.optimize.nnls(np.asarray(X), np.asarray(Y))
    assert 0 < np.sum(expected > 0) < P
    np.testing.assert_allclose(solved(jt.Composite(SQUARED, penalties.NonNegative())).params, expected, atol=1e-10)


def test_least_squares_on_the_simplex():
    w = np.asarray(solved(jt.Composite(SQUARED, penalties.Simplex())).params)
    gradient = np.asarray(SQUARED.gradient(w))
    active = w > 0
    np.testing.assert_allclose(w.sum(), 1, rtol=1e-13)
    multiplier = gradient[active].mean()
    np.testing.assert_allclose(gradient[active], multiplier, atol=1e-10)
    assert 0 < active.sum() < P and np.all(gradient[~active] >= multiplier - 1e-10)


def test_group_lasso_meets_its_optimality_conditions():
    groups = np.array([0, 0, 1, 1, 2, 2])
    strength = 0.2
    w = np.asarray(solved(jt.Composite(SQUARED, penalties.GroupLasso(strength, groups))).params)
    gradient = np.asarray(SQUARED.gradient(w))
    norms = np.array([np.linalg.norm(w[groups == g]) for g in range(3)])
    assert 0 < np.sum(norms > 0) < 3
    for g in range(3):
        block, slope = w[groups == g], gradient[groups == g]
        if norms[g] > 0:
            np.testing.assert_allclose(slope, -strength * block / norms[g], atol=1e-10)
        else:
            assert np.linalg.norm(slope) <= strength


def test_sparse_logistic_regression_against_a_split_quasi_newton_method():
    signs = np.where(RNG.normal(size=N) > 0, 1.0, -1.0)
    problem = jt.Composite(jt.LinearModel(losses.Logistic(), X, signs), penalties.L1(0.05))

    def split(w):
        gradient = np.asarray(problem.smooth.gradient(jnp.asarray(w[:P] - w[P:])))
        value = problem.smooth.value(jnp.asarray(w[:P] - w[P:])) + 0.05 * w.sum()
        return float(value), np.concatenate([gradient + 0.05, 0.05 - gradient])

    options = {"ftol": 1e-15, "gtol": 1e-10}
    peer = scipy.optimize.minimize(
        split, np.zeros(2 * P), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2 * P, options=options
    )
    w = solved(problem).params
    np.testing.assert_allclose(w, peer.x[:P] - peer.x[P:], atol=1e-6)
    assert problem.value(w) <= peer.fun + 1e-13


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_finds_the_solution(name, reference):
    solution = jt.solve(LASSO, jt.ProximalGradient(**VARIANTS[name], tol=1e-12), START, history=True)
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, reference, atol=1e-10)
    values = np.asarray(solution.history.value)[: int(solution.num_steps)]
    if "monotone" in name or "ista" in name:
        # Up to the rounding of the values themselves.
        assert np.all(np.diff(values) <= 16 * np.finfo(float).eps * np.abs(values[1:]))
    assert LASSO.value(START) > values[0]


def test_modes_and_the_hand_driven_loop_give_the_same_iterates():
    solver = jt.ProximalGradient(tol=1e-6, max_steps=60)
    step = jax.jit(lambda params, state: solver.step(LASSO, params, state))
    params, state = START, solver.init(LASSO, START)
    values, errors = [], []
    while not errors or errors[-1] > solver.tol:
        params, state = step(params, state)
        values.append(float(LASSO.value(params)))
        errors.append(float(solver.error(LASSO, params, state)))
    padding = [np.nan] * (solver.max_steps - len(values))
    for mode, history in (("while", True), ("scan", True), ("checkpointed", False)):
        solution = solved(LASSO, solver, mode=mode, history=history)
        assert solution.num_steps == len(values)
        np.testing.assert_allclose(solution.params, params, atol=1e-13)
        np.testing.assert_allclose(solution.error, errors[-1], rtol=1e-6)
        if history:
            np.testing.assert_allclose(solution.history.value, values + padding, rtol=1e-12)
            np.testing.assert_allclose(solution.history.error, errors + padding, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"line_search": False}, {}], ids=["lipschitz", "search"])
def test_accelerated_values_obey_their_bound(settings):
    """`F(w_k) - F* <= 2 L |w_0 - w*|^2 / (k + 1)^2` (Beck and Teboulle 2009, theorem 4.4), on the worst-case chain."""
    n = 60
    chain = jnp.diag(jnp.full(n, 2.0)) - jnp.eye(n, k=1) - jnp.eye(n, k=-1)
    problem = jt.Composite(jt.Quadratic(chain, -jnp.eye(n)[0]), penalties.Box(-10.0, 10.0))
    exact = jnp.linalg.solve(chain, jnp.eye(n)[0])
    solver = jt.ProximalGradient(restart=False, growth=1.0, max_steps=60, tol=0.0, **settings)
    excess = jt.solve(problem, solver, jnp.zeros(n), history=True).history.value - problem.value(exact)
    k = np.arange(1.0, 61.0)
    # A search may end at 1 / shrink times the curvature.
    factor = 2 if settings else 4
    assert np.all(excess <= factor * 4 * jnp.sum(exact**2) / (k + 1) ** 2)
    # Plain descent, whose bound is of order 1 / k, is behind.
    plain = jt.ProximalGradient(accelerated=False, line_search=False, max_steps=60, tol=0.0)
    assert problem.value(jt.solve(problem, plain, jnp.zeros(n)).params) - problem.value(exact) > excess[-1]


def test_a_known_strong_convexity_makes_it_linear_without_restarts():
    """`(1 - sqrt(q))^k` for mu in the penalty (Chambolle and Pock 2016, theorem B.1)."""
    curvature, mu = jnp.logspace(-6, 0, 8), 0.01
    problem = jt.Composite(jt.Quadratic(jnp.diag(curvature), -jnp.sqrt(curvature)), penalties.L2Squared(mu))
    solution = jnp.sqrt(curvature) / (curvature + mu)
    settings = {"restart": False, "tol": 0.0, "max_steps": 300}

    def excess(strong_convexity):
        solver = jt.ProximalGradient(1.0, strong_convexity=strong_convexity, **settings)
        return jt.solve(problem, solver, jnp.zeros(8), history=True).history.value - problem.value(solution)

    start = problem.value(jnp.zeros(8)) - problem.value(solution) + mu / 2 * solution @ solution
    bound = start * (1 - np.sqrt(mu / (1 + mu))) ** np.arange(1, 301) + 1e-14
    batch = jax.vmap(excess)(jnp.array([mu, 0.0]))
    assert np.all(batch[0] <= bound)
    assert not np.all(batch[1] <= bound)
    np.testing.assert_allclose(batch[1], excess(None), atol=1e-13)


def test_step_size_grows_again_where_the_curvature_falls():
    # Curvature 12 w^2 falls from 1200 at the start to 1e-2 and below.
    problem = jt.Composite(lambda w: jnp.sum(w**4), penalties.Zero())
    solver = jt.ProximalGradient(tol=1e-6)
    start = jnp.full(2, 10.0)
    solution = solved(problem, solver, start)
    first = solver.init(problem, start).step_size
    assert solution.state.step_size > 100 * first
    fixed = jt.solve(problem, jt.ProximalGradient(tol=1e-6, growth=1.0), start)
    assert fixed.num_steps > 2 * solution.num_steps


def test_poisson_regression_without_a_lipschitz_constant():
    counts = RNG.poisson(np.exp(np.asarray(X) @ np.linspace(-0.5, 0.5, P)))
    problem = jt.Composite(jt.LinearModel(losses.Poisson(), X, counts), penalties.L1(0.05))
    for start in (START, jnp.full(P, 2.0)):
        w = solved(problem, jt.ProximalGradient(tol=1e-10), start).params
        assert problem.penalty.subdifferential_distance(w, problem.smooth.gradient(w)) <= 1e-8
    with pytest.raises(ValueError, match="no known Lipschitz constant"):
        jt.solve(problem, jt.ProximalGradient(line_search=False), START)


@pytest.mark.parametrize(
    ("settings", "tol"), [({}, None), ({}, 0.0), ({"monotone": True}, 0.0), ({"line_search": False}, 1e-7)], ids=str
)
def test_single_precision_to_any_tolerance_stays_finite_and_accurate(tol, settings, reference):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), LASSO)
    solver = jt.ProximalGradient(tol=tol, max_steps=500, **settings)
    solution = jt.solve(single, solver, START)
    assert solution.params.dtype == solution.error.dtype == jnp.float32
    assert bool(solution.result == jt.RESULTS.converged) or tol is not None
    assert bool(solution.result != jt.RESULTS.nonfinite) and bool(solution.result != jt.RESULTS.diverged)
    np.testing.assert_allclose(solution.params, reference, atol=2e-4 if tol is None else 5e-6)


def test_default_tolerance_follows_the_precision(reference):
    solution = solved(LASSO, jt.ProximalGradient())
    assert solution.error <= 1e-8
    np.testing.assert_allclose(solution.params, reference, atol=1e-7)


def test_one_program_serves_all_numbers_and_batches_of_them(reference):
    traces = []

    def fit(strength, tol, growth):
        traces.append(1)
        problem = jt.Composite(SQUARED, penalties.L1(strength))
        return jt.solve(problem, jt.ProximalGradient(tol=tol, growth=growth), START)

    compiled = jax.jit(fit)
    strengths, tolerances = jnp.array([0.05, 0.1, 0.2]), jnp.array([1e-12, 1e-4, 1e-9])
    rows = [compiled(s, t, 1.1) for s, t in zip(strengths, tolerances, strict=True)]
    assert len(traces) == 1
    batch = jax.jit(jax.vmap(fit, (0, 0, None)))(strengths, tolerances, 1.1)
    np.testing.assert_array_equal(batch.num_steps, [row.num_steps for row in rows])
    np.testing.assert_allclose(batch.params, jnp.stack([row.params for row in rows]), atol=1e-13)
    assert jnp.all(batch.result == jt.RESULTS.converged)


def test_eager_solves_compile_once():
    from jaxopt_thoth.solvers import _solve

    before = _solve._solve._cached._cache_size()
    for strength, tol in ((0.03, 1e-3), (0.3, 1e-5), (jnp.asarray(0.2), 1e-4)):
        jt.solve(jt.Composite(SQUARED, penalties.L1(strength)), jt.ProximalGradient(tol=tol), START)
    assert _solve._solve._cached._cache_size() <= before + 1


def test_batches_of_step_sizes_and_of_problems(reference):
    by_step = lambda step: jt.solve(LASSO, jt.ProximalGradient(step, tol=1e-11), START).params
    np.testing.assert_allclose(jax.vmap(by_step)(jnp.array([0.01, 0.05])), jnp.stack([reference] * 2), atol=1e-9)
    designs = jnp.stack([X, X[::-1] + 0.1])
    problems = jax.vmap(lambda x: jt.Composite(jt.LinearModel(losses.Squared(), x, Y), penalties.L1(0.1)))(designs)
    batch = jax.vmap(lambda problem: jt.solve(problem, TIGHT, START).params)(problems)
    np.testing.assert_allclose(batch[0], reference, atol=1e-11)
    assert LASSO.value(batch[1]) > LASSO.value(reference)


def test_pytrees_with_a_penalty_for_each_block(reference):
    penalty = penalties.SeparableSum({"w": penalties.L1(0.1), "b": penalties.Zero()})
    fn = lambda p, x, y: jnp.mean((x @ p["w"] + p["b"] - y) ** 2) / 2
    problem = jt.Composite(jt.FunctionTerm(fn, X, Y + 5), penalty)
    p = solved(problem, jt.ProximalGradient(tol=1e-10), {"w": START, "b": jnp.zeros(())}).params
    # The intercept is the mean that the weights leave, and the weights are those of centered data.
    np.testing.assert_allclose(p["b"], jnp.mean(Y + 5 - X @ p["w"]), rtol=1e-9)
    centered = jt.LinearModel(losses.Squared(), X - X.mean(0, keepdims=True), Y - Y.mean())
    np.testing.assert_allclose(p["w"], solved(jt.Composite(centered, penalties.L1(0.1))).params, atol=1e-8)


def test_several_outputs_at_once():
    targets = jnp.stack([Y, -2 * Y], 1)
    problem = jt.Composite(jt.LinearModel(losses.Squared(), X, targets), penalties.L1(0.1))
    w = solved(problem, TIGHT, jnp.zeros((P, 2))).params
    np.testing.assert_allclose(w[:, 0], solved(LASSO).params, atol=1e-10)


def test_start_at_the_solution_and_trivial_problems(reference):
    assert solved(LASSO, TIGHT, reference).num_steps <= 2
    assert jnp.all(solved(jt.Composite(SQUARED, penalties.L1(1e3))).params == 0)
    constant = jt.Composite(jt.Quadratic(jnp.zeros((P, P))), penalties.L1(0.1))
    assert jnp.all(solved(constant, start=jnp.ones(P)).params == 0)
    flat = jt.Composite(jt.Quadratic(jnp.zeros((P, P))))
    np.testing.assert_array_equal(solved(flat, start=jnp.ones(P)).params, jnp.ones(P))
    for settings in ({}, {"line_search": False}):
        linear = jt.Composite(jt.Quadratic(jnp.zeros((P, P)), jnp.ones(P)), penalties.Box(-1.0, 1.0))
        np.testing.assert_allclose(solved(linear, jt.ProximalGradient(**settings)).params, -jnp.ones(P))


def test_large_and_small_scales():
    for scale in (1e-6, 1e6):
        scaled = jt.Composite(jt.LinearModel(losses.Squared(), X * scale, Y), penalties.L1(0.1 * scale))
        solution = jt.solve(scaled, jt.ProximalGradient(tol=1e-11 * min(scale, 1)), START)
        assert solution.result == jt.RESULTS.converged
        np.testing.assert_allclose(solution.params * scale, solved(LASSO).params, atol=1e-6)


def test_results_other_than_converged():
    assert jt.solve(LASSO, jt.ProximalGradient(max_steps=0), START).result == jt.RESULTS.max_steps_reached
    assert jt.solve(LASSO, jt.ProximalGradient(max_steps=2), START).result == jt.RESULTS.max_steps_reached
    empty = jax.jit(lambda low: jt.solve(jt.Composite(SQUARED, penalties.Box(low, 0.0)), TIGHT, START))(1.0)
    assert empty.result == jt.RESULTS.infeasible and empty.num_steps == 0
    barrier = jt.solve(jt.Composite(lambda w: jnp.sum(w - jnp.log(w))), TIGHT, START)
    assert barrier.result == jt.RESULTS.infeasible


def test_a_step_size_that_is_too_long_is_divergence():
    too_long = jt.solve(LASSO, jt.ProximalGradient(step_size=10.0, accelerated=False), START)
    assert jnp.all(jnp.isfinite(too_long.params))
    assert too_long.result == jt.RESULTS.diverged


def test_nan_in_one_row_of_a_batch(reference):
    fit = jax.jit(jax.vmap(lambda y: jt.solve(jt.Composite(jt.LinearModel(losses.Squared(), X, y), LASSO.penalty),
                                              TIGHT, START)))  # fmt: skip
    solution = fit(jnp.stack([Y, Y.at[0].set(jnp.nan), Y]))
    np.testing.assert_array_equal(solution.result == jt.RESULTS.nonfinite, [False, True, False])
    np.testing.assert_array_equal(solution.result == jt.RESULTS.converged, [True, False, True])
    assert jnp.all(solution.params[1] == 0)
    np.testing.assert_allclose(solution.params[jnp.array([0, 2])], jnp.stack([reference] * 2), atol=1e-11)


def test_throw_raises_unless_all_converged():
    solver = jt.ProximalGradient(max_steps=2)
    with pytest.raises(RuntimeError, match="maximum number of steps"):
        jt.solve(LASSO, solver, START, throw=True)
    assert jt.solve(LASSO, TIGHT, START, throw=True).num_steps > 2


def test_progress_of_a_solve(capsys):
    jt.solve(LASSO, jt.ProximalGradient(tol=1e-3), START, progress=True)
    jax.effects_barrier()
    assert "error" in capsys.readouterr().out


@pytest.mark.parametrize("outside", [jnp.nan, jnp.inf])
def test_barriers_are_met_by_the_search(outside):
    def barrier(w):
        inside = w > 0
        return jnp.sum(jnp.where(inside, 100 * w - jnp.log(jnp.where(inside, w, 1)), outside))

    # The first trial leaves the domain: its value must shorten the step, and neither pass nor poison it.
    problem = jt.Composite(barrier)
    solver = jt.ProximalGradient(step_size=10.0, line_search=True, accelerated=False, tol=1e-9)
    np.testing.assert_allclose(solved(problem, solver, jnp.full(P, 5.0)).params, 0.01, rtol=1e-6)
    # Where momentum leaves the domain, the step is taken again without it.
    for monotone in (False, True):
        momentum = solved(problem, jt.ProximalGradient(tol=1e-9, monotone=monotone), jnp.full(P, 5.0))
        np.testing.assert_allclose(momentum.params, 0.01, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": -1.0}, "step_size must be positive"),
        ({"tol": -1.0}, "tol must be nonnegative"),
        ({"shrink": 0.0}, "shrink must be positive"),
        ({"strong_convexity": -1.0}, "strong_convexity must be nonnegative"),
        ({"shrink": 1.0}, "shrink must be positive"),
        ({"growth": 0.5}, "growth"),
        ({"max_steps": -1}, "max_steps must be nonnegative"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        jt.ProximalGradient(**settings)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        ((SQUARED, TIGHT, START), {}, TypeError, "problem must be a Composite, got LinearModel"),
        ((LASSO, "fista", START), {}, TypeError, "solver must be"),
        ((LASSO, TIGHT, START), {"adjoint": "implicit"}, TypeError, "adjoint must be"),
        ((LASSO, TIGHT, START), {"stop": 1e-3}, TypeError, "stop must be"),
        ((LASSO, TIGHT, jnp.zeros(3)), {}, ValueError, r"shape \(6,\)"),
        ((LASSO, TIGHT, START), {"mode": "for"}, ValueError, "mode must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        jt.solve(*arguments, **settings)
