import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties, projections


N, P = 30, 10
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
TRUTH = np.concatenate([RNG.dirichlet(np.ones(4)), np.zeros(P - 4)])
Y = jnp.asarray(X @ TRUTH + 0.2 * RNG.normal(size=N))
MODEL = jt.LinearModel(losses.Squared(), X, Y)
ON_SIMPLEX = jt.Composite(MODEL, penalties.Simplex())
START = jnp.full(P, 1 / P)
COMBINATIONS = [
    ("standard", "open_loop"),
    ("standard", "short"),
    ("standard", "backtracking"),
    ("pairwise", "backtracking"),
    ("pairwise", "exact"),
    ("lazy", "exact"),
]


def solved(problem, solver, start=START, **settings):
    solution = jt.solve(problem, solver, start, **settings)
    assert solution.result == jt.RESULTS.converged
    return solution


@pytest.fixture(scope="module")
def reference():
    w = solved(ON_SIMPLEX, jt.ProximalGradient(tol=1e-13)).params
    # On a face, and inside of it: the case where the standard variant zigzags.
    assert 1 < jnp.sum(w > 1e-3) < P
    return w


@pytest.mark.parametrize(("variant", "step"), COMBINATIONS)
def test_gap_bounds_the_excess_and_rates_hold(variant, step, reference):
    solver = jt.FrankWolfe(variant, step, tol=1e-11, max_steps=400)
    solution = jt.solve(ON_SIMPLEX, solver, START, history=True)
    steps = int(solution.num_steps)
    excess = np.asarray(solution.history.value)[:steps] - ON_SIMPLEX.value(reference)
    gaps = np.asarray(solution.history.error)[:steps]
    assert np.all(gaps >= excess - 1e-14) and np.all(excess >= -1e-14)
    if step != "open_loop":
        assert np.all(np.diff(excess) <= 1e-14)
    if variant == "standard":
        # The face is met at a slant: sublinear.
        assert solution.result == jt.RESULTS.max_steps_reached and gaps[-1] > 1e-6
        # Jaggi (2013), theorem 1, with the curvature constant at most L times the squared diameter 2 of the simplex.
        bound = 2 * 2 * MODEL.lipschitz() / (np.arange(steps) + 2.0)
        assert np.all(excess <= (1 if step == "open_loop" else 2) * bound)
    else:
        assert solution.result == jt.RESULTS.converged
        np.testing.assert_allclose(solution.params, reference, atol=1e-8)
        # Linear: as many digits again cost about as many steps again.
        half = np.argmax(gaps <= 1e-6)
        assert steps <= 3 * half + 10
        # Zero exactly off the face.
        assert jnp.all((solution.params > 0) == (reference > 1e-9))


def test_lazy_asks_the_oracle_less():
    away, lazy = (solved(ON_SIMPLEX, jt.FrankWolfe(variant, "short", tol=1e-9)) for variant in ("away", "lazy"))
    assert away.state.num_oracle_calls == away.num_steps + 2
    assert 3 * lazy.state.num_oracle_calls < away.state.num_oracle_calls
    np.testing.assert_allclose(lazy.params, away.params, atol=1e-7)
    # The last gap was proven: it bounds the gap of a fresh start there.
    assert jt.FrankWolfe().init(ON_SIMPLEX, lazy.params).gap <= 10 * lazy.error


@pytest.mark.parametrize("variant", ["away", "pairwise"])
def test_a_full_table_merges_and_stays_honest(variant, reference):
    solver = jt.FrankWolfe(variant, tol=1e-3, max_vertices=2, max_steps=2000)
    solution = solved(ON_SIMPLEX, solver)
    assert solution.state.table.num_merged > 0 and solution.state.table.weights.shape == (2,)
    np.testing.assert_allclose(solution.state.table.point(), solution.params, atol=1e-15)
    assert ON_SIMPLEX.value(solution.params) - ON_SIMPLEX.value(reference) <= solution.error <= 1e-3
    np.testing.assert_allclose(solution.state.image, X @ solution.params, atol=1e-12)
    assert ON_SIMPLEX.penalty.value(solution.params) == 0


@pytest.mark.slow
def test_modes_and_the_hand_driven_loop_give_the_same_iterates():
    solver = jt.FrankWolfe("pairwise", tol=1e-3, max_steps=60)
    step = jax.jit(lambda params, state: solver.step(ON_SIMPLEX, params, state))
    params, state = START, solver.init(ON_SIMPLEX, START)
    structure = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    values = []
    while not values or solver.error(ON_SIMPLEX, params, state) > solver.tol:
        params, state = step(params, state)
        values.append(float(ON_SIMPLEX.value(params)))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == structure
    for mode in ("while", "scan"):
        solution = solved(ON_SIMPLEX, solver, mode=mode, history=mode == "scan")
        assert solution.num_steps == len(values)
        np.testing.assert_allclose(solution.params, params, atol=1e-13)
        if mode == "scan":
            np.testing.assert_allclose(solution.history.value[: len(values)], values, rtol=1e-12)


def test_derivatives_of_the_solution_agree_with_finite_differences():
    direction = jnp.asarray(RNG.normal(size=P))

    def fit(y, radius):
        problem = jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.Simplex(radius))
        return jt.solve(problem, jt.FrankWolfe("pairwise", tol=1e-13), START).params @ direction

    change = jnp.asarray(RNG.normal(size=N))
    h = 1e-4
    values = jax.jit(jax.vmap(fit))(
        jnp.stack([Y + h * change, Y - h * change, Y, Y]), jnp.array([1.0, 1.0, 1 + h, 1 - h])
    )
    slope, radius_slope = jax.jit(jax.grad(fit, (0, 1)))(Y, 1.0)
    np.testing.assert_allclose(slope @ change, (values[0] - values[1]) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(radius_slope, (values[2] - values[3]) / (2 * h), rtol=1e-5)


@pytest.mark.parametrize(("variant", "step"), [("standard", "short"), ("standard", "backtracking")])
@pytest.mark.slow
def test_unrolled_derivatives_pass_through_the_steps(variant, step):
    def fit(y):
        problem = jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.Simplex())
        solver = jt.FrankWolfe(variant, step, tol=0.0, max_steps=5 if step == "short" else 2, max_vertices=6)
        return jnp.sum(jt.solve(problem, solver, START, adjoint=jt.implicit.Unrolled()).params ** 2)

    slope = jax.jit(jax.grad(fit))(Y)
    assert jnp.all(jnp.isfinite(slope)) and jnp.any(slope != 0)
    if step == "short":
        change, h = jnp.asarray(RNG.normal(size=N)), 1e-6
        fit = jax.jit(fit)
        expected = (fit(Y + h * change) - fit(Y - h * change)) / (2 * h)
        np.testing.assert_allclose(slope @ change, expected, rtol=1e-5)


def test_batches_of_problems_and_single_precision(reference):
    def fit(y, tol):
        problem = jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.Simplex())
        return jt.solve(problem, jt.FrankWolfe("away", tol=tol), START)

    batch = jax.jit(jax.vmap(fit))(jnp.stack([Y, 2 * Y, Y.at[0].set(jnp.nan)]), jnp.array([1e-11, 1e-4, 1e-6]))
    np.testing.assert_allclose(batch.params[0], reference, atol=1e-8)
    np.testing.assert_array_equal(batch.result == jt.RESULTS.converged, [True, True, False])
    np.testing.assert_array_equal(batch.result == jt.RESULTS.nonfinite, [False, False, True])
    assert batch.num_steps[1] < batch.num_steps[0]
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), ON_SIMPLEX)
    solution = solved(single, jt.FrankWolfe("away"))
    assert solution.params.dtype == solution.error.dtype == jnp.float32
    np.testing.assert_allclose(solution.params, reference, atol=2e-2)
    assert MODEL.value(solution.params.astype(float)) - MODEL.value(reference) <= 1.1e-4
    endless = jt.solve(single, jt.FrankWolfe("away", tol=0.0), START)
    assert endless.result != jt.RESULTS.nonfinite
    np.testing.assert_allclose(endless.params, reference, atol=2e-3)


def test_nuclear_norm_ball_has_iterates_of_low_rank():
    target = jnp.asarray(RNG.normal(size=(6, 5)))
    ball = penalties.SpectralFunction(penalties.L1Ball(4.0))
    problem = jt.Composite(
        jt.FunctionTerm(lambda w, t: jnp.sum((w - t) ** 2) / 2, target, lipschitz_constant=1.0), ball
    )
    start = jnp.zeros((6, 5))
    solution = jt.solve(problem, jt.FrankWolfe(step="short", tol=1e-3, max_steps=3), start)
    assert jnp.linalg.matrix_rank(solution.params) <= 3 and ball.value(solution.params) == 0
    solution = solved(problem, jt.FrankWolfe(step="short", tol=1e-2), start)
    nearest = ball.prox(target, 1.0)
    excess = problem.value(solution.params) - problem.value(nearest)
    assert jnp.sum((solution.params - nearest) ** 2) / 2 <= excess + 1e-12 and excess <= solution.error <= 1e-2


def test_nearest_doubly_stochastic_matrix():
    target = jnp.asarray(RNG.normal(size=(4, 4)))
    set_ = penalties.Indicator(projections.birkhoff)
    problem = jt.Composite(jt.FunctionTerm(lambda w, t: jnp.sum((w - t) ** 2) / 2, target), set_)
    w = solved(problem, jt.FrankWolfe("pairwise", tol=1e-9), jnp.full((4, 4), 0.25)).params
    np.testing.assert_allclose(w, projections.birkhoff(target), atol=1e-4)


def test_blocks_of_a_pytree_and_a_start_outside():
    sets = penalties.SeparableSum({"a": penalties.Simplex(), "b": penalties.Box(-1.0, 1.0)})
    target = {"a": jnp.array([0.9, 0.6, -1.0]), "b": jnp.array([3.0, 0.25])}
    fn = lambda w, t: sum(jnp.sum((w[name] - t[name]) ** 2) for name in w)
    problem = jt.Composite(jt.FunctionTerm(fn, target), sets)
    start = {"a": jnp.full(3, 50.0), "b": jnp.full(2, -50.0)}
    w = solved(problem, jt.FrankWolfe("away", tol=1e-10), start).params
    np.testing.assert_allclose(w["a"], [0.65, 0.35, 0], atol=1e-5)
    np.testing.assert_allclose(w["b"], [1, 0.25], atol=1e-5)


def test_a_feasible_start_is_kept(reference):
    solver = jt.FrankWolfe("pairwise", tol=1e-7)
    assert solved(ON_SIMPLEX, solver, reference).num_steps <= 2
    first = jt.solve(ON_SIMPLEX, jt.FrankWolfe(max_steps=1), jnp.full(P, 1 / P))
    assert ON_SIMPLEX.value(first.params) < ON_SIMPLEX.value(jnp.full(P, 1 / P)) and jnp.all(first.params > 0)


def test_results_other_than_converged():
    assert jt.solve(ON_SIMPLEX, jt.FrankWolfe(max_steps=0), START).result == jt.RESULTS.max_steps_reached
    unbounded = jt.Composite(MODEL, penalties.Box(0.0, jnp.inf))
    assert jt.solve(unbounded, jt.FrankWolfe(max_steps=5), START).result == jt.RESULTS.nonfinite
    empty = jax.jit(lambda r: jt.solve(jt.Composite(MODEL, penalties.Simplex(r)), jt.FrankWolfe(), START).result)
    assert empty(-1.0) == jt.RESULTS.infeasible
    point = jt.Composite(MODEL, penalties.L2Ball(0.0))
    assert jnp.all(solved(point, jt.FrankWolfe(), jnp.ones(P)).params == 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "towards"}, "variant must be one of"),
        ({"step": "long"}, "step must be one of"),
        ({"variant": "away", "step": "open_loop"}, "open_loop"),
        ({"max_vertices": 1}, "max_vertices must be at least 2"),
        ({"tol": -1.0}, "tol must be nonnegative"),
        ({"max_steps": -1}, "max_steps must be nonnegative"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        jt.FrankWolfe(**settings)


@pytest.mark.parametrize(
    ("smooth", "penalty", "step", "error", "message"),
    [
        (MODEL, penalties.L1(1.0), "short", ValueError, "L1 is not the indicator"),
        (MODEL, penalties.Zero(), "short", ValueError, "Zero is not the indicator"),
        (MODEL, penalties.Indicator(projections.top_k, k=2, convex=False), "short", ValueError, "not the indicator"),
        (MODEL, penalties.NonNegative(), "short", NotImplementedError, "has no linear minimization oracle"),
        (jt.FunctionTerm(jnp.sum), penalties.Simplex(), "short", ValueError, "no known Lipschitz constant"),
        (jt.FunctionTerm(jnp.sum), penalties.Simplex(), "exact", ValueError, "needs a Quadratic"),
    ],
)
def test_problems_that_do_not_fit_are_refused(smooth, penalty, step, error, message):
    with pytest.raises(error, match=message):
        jt.solve(jt.Composite(smooth, penalty), jt.FrankWolfe(step=step), START)
