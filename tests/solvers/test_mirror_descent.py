import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, mirror, penalties, solvers


N = 12
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(20, N)))
Y = jnp.asarray(X @ RNG.dirichlet(np.full(N, 0.3)) + 0.1 * RNG.normal(size=20))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
PROBLEM = jt.Composite(SQUARED, penalties.Simplex())
UNIFORM = jnp.full(N, 1 / N)
ENTROPY = mirror.NegativeEntropy()
# The smoothness of f relative to entropy, which is strongly convex in the l1 norm.
SMOOTHNESS = float(jnp.max(jnp.abs(X.T @ X)) / 20)


@eqx.filter_jit
def solved(problem, solver, start):
    return jt.solve(problem, solver, start)


@pytest.fixture(scope="module")
def reference():
    return jt.solve(PROBLEM, jt.ProximalGradient(tol=1e-13), UNIFORM).params


RULES = {
    "search": None,
    "fixed": 1 / SMOOTHNESS,
    "schedule": optax.schedules.constant_schedule(1 / SMOOTHNESS),
}


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_finds_the_solution_of_the_projected_method(name, reference):
    solution = solved(PROBLEM, jt.MirrorDescent(ENTROPY, RULES[name], tol=1e-9, max_steps=60_000), UNIFORM)
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, reference, atol=1e-7)
    np.testing.assert_allclose(jnp.sum(solution.params), 1, rtol=1e-14)


@pytest.mark.parametrize("rule", [None, 1 / SMOOTHNESS], ids=["search", "fixed"])
def test_relatively_smooth_descent_is_monotone_and_within_its_bound(rule, reference):
    """`f(x_t) - f* <= L D(x*, x_0) / t`: Lu, Freund and Nesterov 2018, theorem 3.1; a search may end at 2 L."""
    solver = jt.MirrorDescent(ENTROPY, rule, tol=0.0, max_steps=300)
    solution = jt.solve(PROBLEM, solver, UNIFORM, history=True)
    excess = np.asarray(solution.history.value - PROBLEM.value(reference))
    assert np.all(np.diff(excess) <= 1e-14)
    factor = 1 if rule else 2
    distance = ENTROPY.divergence(reference, UNIFORM)
    assert distance <= np.log(N)
    assert np.all(excess <= factor * SMOOTHNESS * float(distance) / np.arange(1, 301) + 1e-14)


def test_rules_for_nonsmooth_objectives_keep_their_bounds():
    """`min_t f(x_t) - f* <= (D0 + sum eta^2 G^2 / 2) / sum eta`, and the same at the average."""
    centers = jnp.asarray(RNG.dirichlet(np.ones(N)))
    problem = jt.Composite(lambda x: jnp.sum(jnp.abs(x - centers)), penalties.Simplex())
    distance = float(ENTROPY.divergence(centers, UNIFORM))
    steps = 200
    t = np.arange(1, steps + 1)
    best_fixed = np.sqrt(2 * distance / steps)
    sizes = {"fixed": np.full(steps, best_fixed), "decaying": 0.3 / np.sqrt(t)}
    rules = {"fixed": best_fixed, "decaying": solvers.DecayingStep(0.3)}
    for name, rule in rules.items():
        solver = jt.MirrorDescent(ENTROPY, rule, tol=0.0, max_steps=steps)
        solution = jt.solve(problem, solver, UNIFORM, history=True)
        bound = (distance + np.cumsum(sizes[name] ** 2) / 2) / np.cumsum(sizes[name])
        assert np.all(np.minimum.accumulate(solution.history.value)[:-1] <= bound[1:] + 1e-12), name
        np.testing.assert_allclose(solution.state.total, sizes[name].sum(), rtol=1e-12)
        assert problem.value(solution.state.average) <= bound[-1]
    # Steps within a factor of two of the best of hindsight, without the size of the gradients.
    for scale in (1.0, 1e4):
        scaled = jt.Composite(lambda x, s=scale: s * jnp.sum(jnp.abs(x - centers)), penalties.Simplex())
        solver = jt.MirrorDescent(ENTROPY, solvers.AdaGradNormStep(distance**0.5), tol=0.0, max_steps=steps)
        value = scaled.value(jt.solve(scaled, solver, UNIFORM).state.average)
        assert value <= 2 * scale * np.sqrt(2 * distance / steps)


def test_polyak_never_moves_away_from_the_solution(reference):
    solver = jt.MirrorDescent(ENTROPY, solvers.PolyakStep(PROBLEM.value(reference)))
    params, state = UNIFORM, solver.init(PROBLEM, UNIFORM)
    step = jax.jit(lambda params, state: solver.step(PROBLEM, params, state))
    distances, excess, largest = [ENTROPY.divergence(reference, params)], [], 0
    for _ in range(100):
        excess.append(float(state.value - PROBLEM.value(reference)))
        largest = max(largest, float(ENTROPY.dual_norm(state.gradient)))
        params, state = step(params, state)
        distances.append(ENTROPY.divergence(reference, params))
    assert np.all(np.diff(distances) <= 1e-15)
    # The bound of the best fixed step, without the horizon.
    bound = largest * np.sqrt(2 * float(distances[0]) / np.arange(1, 101))
    assert np.all(np.minimum.accumulate(excess) <= bound)
    assert excess[-1] < 0.05 * excess[0]


def test_dual_averaging_with_a_constant_step_is_mirror_descent():
    settings = {"tol": 0.0, "max_steps": 50}
    descent = jt.solve(PROBLEM, jt.MirrorDescent(ENTROPY, 0.3, **settings), UNIFORM, history=True)
    averaging = jt.solve(PROBLEM, jt.DualAveraging(ENTROPY, 0.3, **settings), UNIFORM, history=True)
    np.testing.assert_allclose(averaging.params, descent.params, atol=1e-12)
    np.testing.assert_allclose(averaging.history.value, descent.history.value, rtol=1e-12)
    np.testing.assert_allclose(averaging.state.average, descent.state.average, atol=1e-12)


def test_dual_averaging_bounds_and_sparse_iterates(reference):
    """`f(average) - f* <= (D0 sqrt(T) / c + G^2 c sum 1/sqrt(t) / 2) / T` for `eta_t = c / sqrt(t)`, at any time T."""
    steps, scale = 150, 0.2
    solver = jt.DualAveraging(ENTROPY, solvers.DecayingStep(scale), tol=0.0, max_steps=steps)
    solution = jt.solve(PROBLEM, solver, UNIFORM)
    largest = jnp.max(jnp.abs(X.T @ (X @ jnp.eye(N) - Y[:, None]))) / 20
    distance = ENTROPY.divergence(reference, UNIFORM)
    bound = (distance * np.sqrt(steps + 1) / scale + largest**2 * scale * np.sqrt(steps)) / steps
    assert PROBLEM.value(solution.state.average) - PROBLEM.value(reference) <= bound
    lasso = jt.Composite(SQUARED, penalties.L1(0.1))
    exact = jt.solve(lasso, jt.ProximalGradient(tol=1e-12), jnp.zeros(N)).params
    regularized = jt.solve(lasso, jt.DualAveraging(mirror.Euclidean(), 0.1, tol=1e-9), jnp.zeros(N))
    np.testing.assert_allclose(regularized.params, exact, atol=1e-7)
    np.testing.assert_array_equal(regularized.params == 0, exact == 0)


def test_euclidean_geometry_is_proximal_gradient():
    lasso = jt.Composite(SQUARED, penalties.L1(0.1))
    plain = jt.ProximalGradient(0.2, accelerated=False, tol=0.0, max_steps=20)
    descent = jt.MirrorDescent(mirror.Euclidean(), 0.2, tol=0.0, max_steps=20)
    peer, solution = (jt.solve(lasso, s, jnp.zeros(N)) for s in (plain, descent))
    np.testing.assert_allclose(solution.params, peer.params, atol=1e-14)


OTHERS = {
    "hypentropy": (mirror.Hypentropy(0.1), penalties.L1(0.02), jnp.zeros(N)),
    "logistic": (mirror.FermiDirac(-0.1, 0.1), penalties.Box(-0.1, 0.1), jnp.zeros(N)),
    "orthant": (mirror.UnnormalizedEntropy(), penalties.NonNegative(), jnp.ones(N)),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_composite_steps_of_other_maps(name):
    geometry, penalty, start = OTHERS[name]
    problem = jt.Composite(SQUARED, penalty)
    solution = jt.solve(problem, jt.MirrorDescent(geometry, tol=1e-7), start)
    assert solution.result == jt.RESULTS.converged
    exact = jt.solve(problem, jt.ProximalGradient(tol=1e-11), start).params
    np.testing.assert_allclose(solution.params, exact, atol=1e-5)


def test_blocks_with_a_geometry_each():
    halves = lambda p, x, y: jnp.mean((x @ jnp.concatenate([p["a"], p["b"]]) - y) ** 2) / 2
    penalty = penalties.SeparableSum({"a": penalties.Simplex(), "b": penalties.L1(0.05)})
    problem = jt.Composite(jt.FunctionTerm(halves, X, Y), penalty)
    start = {"a": jnp.full(4, 0.25), "b": jnp.zeros(N - 4)}
    geometry = mirror.Product({"a": ENTROPY, "b": mirror.Euclidean()})
    solution = jt.solve(problem, jt.MirrorDescent(geometry, tol=1e-7), start)
    assert solution.result == jt.RESULTS.converged
    exact = jt.solve(problem, jt.ProximalGradient(tol=1e-10), start).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), solution.params, exact)


def test_exponentiated_gradient_on_simplex_and_ball():
    radius = 2.5
    settings = {"tol": 1e-8, "max_steps": 20_000}
    simplex = jt.Composite(SQUARED, penalties.Simplex(radius))
    found = solved(simplex, jt.ExponentiatedGradient(**settings), UNIFORM * radius)
    assert found.result == jt.RESULTS.converged
    np.testing.assert_allclose(found.params, solved(simplex, jt.ProximalGradient(), UNIFORM).params, atol=1e-6)
    ball = jt.Composite(jt.LinearModel(losses.Squared(), X, 5 * Y), penalties.L1Ball(radius))
    found = solved(ball, jt.ExponentiatedGradient(**settings), jnp.zeros(N))
    assert found.result == jt.RESULTS.converged
    np.testing.assert_allclose(found.params, solved(ball, jt.ProximalGradient(), jnp.zeros(N)).params, atol=1e-6)


def test_exponentiated_gradient_plus_minus_starts_where_it_is_told():
    ball = jt.Composite(SQUARED, penalties.L1Ball(2.0))
    start = jnp.zeros(N).at[0].set(-0.5).at[3].set(1.0)
    solver = jt.ExponentiatedGradient(1e-3)
    state = solver.init(ball, start)
    np.testing.assert_allclose(2 * (state.weights[:N] - state.weights[N:]), start, atol=1e-15)
    # Multiplied weights, normalized: the update of Kivinen and Warmuth.
    params, new = solver.step(ball, start, state)
    gradient = ball.smooth.gradient(start)
    factors = jnp.exp(-1e-3 * 2 * jnp.concatenate([gradient, -gradient])) * state.weights
    np.testing.assert_allclose(new.weights, factors / factors.sum(), rtol=1e-12)
    np.testing.assert_allclose(params, 2 * (new.weights[:N] - new.weights[N:]), atol=1e-15)


@pytest.mark.slow
def test_modes_hand_driven_steps_and_batches_agree():
    solver = jt.MirrorDescent(ENTROPY, tol=1e-3, max_steps=150)
    params, state = UNIFORM, solver.init(PROBLEM, UNIFORM)
    step = jax.jit(lambda params, state: solver.step(PROBLEM, params, state))
    count = 0
    while count == 0 or solver.error(PROBLEM, params, state) > solver.tol:
        params, state = step(params, state)
        count += 1
    solution = jt.solve(PROBLEM, solver, UNIFORM, mode="scan")
    assert solution.num_steps == count
    np.testing.assert_allclose(solution.params, params, atol=1e-14)
    targets = jnp.stack([Y, -Y])
    fit = lambda y: jt.solve(jt.Composite(jt.LinearModel(losses.Squared(), X, y), PROBLEM.penalty), solver, UNIFORM)
    batch = jax.jit(jax.vmap(fit))(targets)
    assert batch.num_steps[0] == count
    np.testing.assert_allclose(batch.params[0], params, atol=1e-13)


@pytest.mark.parametrize("method", ["descent", "averaging", "exponentiated"])
def test_single_precision(method, reference):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PROBLEM)
    solver = {
        "descent": jt.MirrorDescent(ENTROPY),
        "averaging": jt.DualAveraging(ENTROPY, 1 / SMOOTHNESS),
        "exponentiated": jt.ExponentiatedGradient(),
    }[method]
    solution = jt.solve(single, solver, UNIFORM.astype(jnp.float32))
    assert solution.params.dtype == solution.error.dtype == jnp.float32
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, reference, atol=2e-3)


def test_derivative_of_the_solution_is_that_of_the_projected_method():
    def loss(solver, scale):
        problem = jt.Composite(jt.LinearModel(losses.Squared(), X, scale * Y), penalties.Simplex())
        return jnp.sum(jt.solve(problem, solver, UNIFORM).params ** 2)

    peer = jax.grad(lambda s: loss(jt.ProximalGradient(tol=1e-12), s))(1.3)
    # Reverse mode through one, forward mode through the other.
    np.testing.assert_allclose(jax.grad(loss, 1)(jt.MirrorDescent(ENTROPY, tol=1e-9), 1.3), peer, rtol=1e-6)
    exponentiated = lambda s: loss(jt.ExponentiatedGradient(tol=1e-9), s)
    np.testing.assert_allclose(jax.jvp(exponentiated, (1.3,), (1.0,))[1], peer, rtol=1e-6)
    exact = lambda s: loss(jt.ProximalGradient(tol=1e-13), s)
    np.testing.assert_allclose(peer, (exact(1.3 + 1e-5) - exact(1.3 - 1e-5)) / 2e-5, rtol=1e-6)


@pytest.mark.slow
def test_unrolled_derivative_approaches_the_implicit_one():
    def loss(scale, adjoint, tol):
        problem = jt.Composite(jt.LinearModel(losses.Squared(), X[:, :3], scale * Y), penalties.Simplex())
        solver = jt.MirrorDescent(ENTROPY, tol=tol, max_steps=100)
        return jnp.sum(jt.solve(problem, solver, jnp.full(3, 1 / 3), adjoint=adjoint, mode="scan").params ** 2)

    implicit = jax.grad(loss)(1.3, jt.implicit.Implicit(), 1e-10)
    unrolled = jax.grad(loss)(1.3, jt.implicit.Unrolled(), 1e-10)
    np.testing.assert_allclose(unrolled, implicit, rtol=1e-3)


def test_small_steps_near_the_boundary_do_not_pass_for_convergence():
    """From a vertex the entropic step is tiny however steep f is; the Euclidean error is not."""
    problem = jt.Composite(jt.Quadratic(jnp.zeros((2, 2)), jnp.array([1.0, 0.0])), penalties.Simplex())
    start = jnp.array([1 - 1e-12, 1e-12])
    short = jt.solve(problem, jt.MirrorDescent(ENTROPY, 0.1, max_steps=3), start)
    assert short.result == jt.RESULTS.max_steps_reached
    assert short.error > 0.5
    long = jt.solve(problem, jt.MirrorDescent(ENTROPY), start)
    assert long.result == jt.RESULTS.converged
    np.testing.assert_allclose(long.params, [0, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("make", "start", "message"),
    [
        (lambda: jt.MirrorDescent(ENTROPY), jnp.zeros(N), "interior of the domain"),
        (lambda: jt.MirrorDescent(ENTROPY), jnp.full(N, 1.0), "interior of the domain"),
        (lambda: jt.ExponentiatedGradient(), jnp.zeros(N), "must be positive"),
        (lambda: jt.ExponentiatedGradient(), jnp.ones((N, 1)), "one vector|shape"),
        (lambda: jt.MirrorDescent(ENTROPY, 0.0), UNIFORM, "step_size must be positive"),
        (lambda: jt.MirrorDescent(ENTROPY, -1.0), UNIFORM, "step_size must be positive"),
        (lambda: jt.DualAveraging(ENTROPY, 0.0), UNIFORM, "step_size must be positive"),
        (lambda: jt.DualAveraging(ENTROPY, solvers.PolyakStep(0.0)), UNIFORM, "belongs to MirrorDescent"),
        (lambda: jt.MirrorDescent(ENTROPY, solvers.DecayingStep(0.0)), UNIFORM, "scale must be positive"),
        (lambda: jt.MirrorDescent(ENTROPY, solvers.AdaGradNormStep(-1.0)), UNIFORM, "radius must be positive"),
        (lambda: jt.MirrorDescent(ENTROPY, jnp.ones(2)), UNIFORM, "one number"),
        (lambda: jt.MirrorDescent(ENTROPY, shrink=1.5), UNIFORM, "shrink"),
        (lambda: jt.MirrorDescent(ENTROPY, tol=-1.0), UNIFORM, "tol"),
        (lambda: jt.MirrorDescent(ENTROPY, max_steps=-1), UNIFORM, "max_steps"),
        (lambda: jt.MirrorDescent(mirror.BurgEntropy(), solvers.PolyakStep(0.0)), UNIFORM, "penalty does not fit"),
    ],
)
def test_bad_settings_and_starts(make, start, message):
    with pytest.raises(ValueError, match=message):
        jt.solve(PROBLEM, make(), start)


def test_geometries_that_do_not_fit_the_problem():
    solve = lambda penalty, solver: jt.solve(jt.Composite(SQUARED, penalty), solver, UNIFORM)
    with pytest.raises(TypeError, match="mirror_map must be"):
        jt.MirrorDescent(penalties.Simplex())
    with pytest.raises(ValueError, match="must be the indicator"):
        solve(penalties.Zero(), jt.MirrorDescent(ENTROPY))
    with pytest.raises(ValueError, match="does not fit mirror_map"):
        solve(penalties.L2Ball(1.0), jt.MirrorDescent(ENTROPY))
    with pytest.raises(ValueError, match="must be Simplex"):
        solve(penalties.L1(1.0), jt.ExponentiatedGradient())
    with pytest.raises(ValueError, match="needs an indicator"):
        solve(penalties.L1(1.0), jt.MirrorDescent(mirror.Euclidean(), solvers.PolyakStep(0.0)))
    with pytest.raises(ValueError, match="inside of the l1 ball"):
        solve(penalties.L1Ball(1.0), jt.ExponentiatedGradient())


def test_results_other_than_converged():
    traced = jax.jit(lambda start, step: jt.solve(PROBLEM, jt.MirrorDescent(ENTROPY, step), start).result)
    assert traced(jnp.zeros(N), 0.1) == jt.RESULTS.nonfinite
    assert traced(UNIFORM, -0.1) == jt.RESULTS.nonfinite
    nan = jt.Composite(lambda x: jnp.sum(x) * jnp.nan, penalties.Simplex())
    assert jt.solve(nan, jt.MirrorDescent(ENTROPY), UNIFORM).result == jt.RESULTS.nonfinite
