"""Catalyst and QNing: what holds of both, and what each promises."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers import Catalyst, MISO, QNing, SVRG


N, P = 500, 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P))
X = jnp.asarray(X / np.linalg.norm(X, axis=1, keepdims=True))
Y = jnp.asarray(np.sign(X @ RNG.normal(size=P) + 0.1 * RNG.normal(size=N)))
LOGISTIC = jt.LinearModel(losses.Logistic(), X, Y)
HARD = jt.Composite(LOGISTIC, penalties.L2Squared(1 / (100 * N)))
START = jnp.zeros(P)
ISTA = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-9)
OUTER = [Catalyst, QNing]


def run(problem, solver, start, num_steps):
    """Objectives after each step, and the last iterate and state."""

    @eqx.filter_jit
    def go(problem, solver, start):
        def advance(carry, _):
            carry = solver.step(problem, *carry)
            return carry, (problem.value(carry[0]), getattr(carry[1], "num_inner", 0))

        return jax.lax.scan(advance, (start, solver.init(problem, start)), None, length=num_steps)

    (params, state), (values, counts) = go(problem, solver, start)
    return np.asarray(values), np.asarray(counts), params, state


@pytest.fixture(scope="module")
def least():
    solution = jt.solve(HARD, jt.ProximalNewton(tol=1e-12), START)
    return float(HARD.value(solution.params))


@pytest.fixture(scope="module")
def epochs(least):
    """Excess over the minimum of SVRG with batches of one, alone and accelerated."""
    inner = SVRG(key=jax.random.key(0), batch_size=1)
    curves = {}
    for solver in (inner, Catalyst(inner), QNing(inner)):
        values, counts, _, _ = run(HARD, solver, START, 40)
        curves[type(solver)] = values - least, counts
    return curves


def test_an_ill_conditioned_problem_is_solved_in_far_fewer_epochs(epochs):
    plain, fast, faster = (epochs[kind][0] for kind in (SVRG, Catalyst, QNing))
    assert plain[39] > 1e-5
    assert fast[9] < plain[9] and fast[19] < plain[19] / 10 and fast[39] < 1e-6
    within = epochs[QNing][1] <= 10
    assert faster[within][-1] < 1e-5
    assert np.min(faster) < 1e-13


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(Catalyst, ISTA), (QNing, SVRG(key=jax.random.key(1), batch_size=10))],
    ids=["Catalyst of ISTA", "QNing of SVRG"],
)
def test_without_smoothing_it_is_the_inner_solver(outer, inner):
    # For SVRG the default: the loss of a row bends less than n times the penalty.
    problem = jt.Composite(LOGISTIC, penalties.L2Squared(1 / N))
    smoothing = None if isinstance(inner, SVRG) else 0.0
    _, _, expected, _ = run(problem, inner, START, 5)
    _, _, params, state = run(problem, outer(inner, smoothing=smoothing), START, 5)
    assert state.smoothing == 0
    np.testing.assert_allclose(params, expected, atol=1e-14)


def test_exact_proximal_points_keep_the_bounds_of_the_accelerated_method():
    """With `x_k` exact, Catalyst is Nesterov's method of Guler (1992) on the envelope."""
    curvature = jnp.logspace(-4, 0, 6)
    solution = jnp.ones(6)
    smooth = jt.Quadratic(jnp.diag(curvature), -curvature * solution)
    exact = jt.ProximalGradient(0.5, accelerated=False)
    for mu, kappa in ((0.0, 0.5), (0.02, 1.0)):
        penalty = penalties.Regularized(penalties.Zero(), mu, solution)
        problem = jt.Composite(smooth, penalty)
        solver = Catalyst(exact, smoothing=kappa, inner_steps=60, restart_every=1000)
        values, _, _, state = run(problem, solver, jnp.zeros(6), 30)
        excess = values - float(problem.value(solution))
        k = np.arange(1, 31)
        if mu == 0:
            assert np.all(excess <= 2 * kappa * float(solution @ solution) / (k + 1) ** 2)
        else:
            rate = np.sqrt(mu / (mu + kappa))
            np.testing.assert_allclose(state.momentum, rate, rtol=0.05)
            start = (
                float(problem.value(jnp.zeros(6))) + kappa * float(solution @ solution) - float(problem.value(solution))
            )
            assert np.all(excess <= 4 * start * (1 - rate) ** k)


def test_the_extrapolation_starts_anew_without_strong_convexity_alone():
    solver = Catalyst(ISTA, restart_every=3)
    for penalty, anew in ((penalties.L1(1e-3), True), (penalties.L2Squared(1e-3), False)):
        state = run(jt.Composite(LOGISTIC, penalty), solver, START, 3)[3]
        assert (state.momentum == 1) == anew


def test_qning_counts_its_runs_and_needs_few():
    problem = jt.Composite(LOGISTIC, penalties.L1(2e-3))
    reference = jt.solve(problem, jt.ProximalNewton(tol=1e-12), START).params
    fast = jt.solve(problem, QNing(ISTA), START)
    plain = jt.solve(problem, ISTA, START)
    assert fast.result == jt.RESULTS.converged
    np.testing.assert_allclose(fast.params, reference, atol=1e-7)
    np.testing.assert_array_equal(fast.params == 0, reference == 0)
    assert int(fast.num_steps) <= int(fast.state.num_inner) < int(plain.num_steps) / 5


def test_qning_halves_its_steps_and_never_lets_the_envelope_rise():
    """Exponentials, whose curvature the pairs of one place misjudge in the next."""
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(20, 3)))
    smooth = jt.FunctionTerm(lambda w, rows: jnp.mean(jnp.exp(rows @ w)), rows)
    problem = jt.Composite(smooth, penalties.L1(0.01))
    solver = QNing(jt.ProximalGradient(accelerated=False), smoothing=0.1, inner_steps=5)

    @jax.jit
    def go(start):
        def advance(carry, _):
            carry = solver.step(problem, *carry)
            return carry, (carry[1].value, carry[1].num_inner, carry[1].error)

        return jax.lax.scan(advance, (start, solver.init(problem, start)), None, length=40)

    _, (values, counts, errors) = go(jnp.full(3, 2.0))
    assert counts[-1] > 40
    assert np.all(np.diff(values) <= 1e-12)
    assert errors[-1] < 1e-8


@pytest.mark.parametrize("outer", [pytest.param(Catalyst, marks=pytest.mark.slow), QNing])
def test_multinomial_regression(outer):
    classes = jnp.asarray(np.argmax(X @ RNG.normal(size=(P, 3)) + 0.3 * RNG.normal(size=(N, 3)), axis=1))
    problem = jt.Composite(jt.LinearModel(losses.Multinomial(), X, classes), penalties.L2Squared(0.01))
    solution = jt.solve(problem, outer(jt.ProximalGradient(accelerated=False, tol=1e-9)), jnp.zeros((P, 3)))
    assert solution.result == jt.RESULTS.converged
    gradient = problem.smooth.gradient(solution.params) + 0.01 * solution.params
    np.testing.assert_allclose(gradient, 0, atol=1e-8)
    np.testing.assert_allclose(solution.params.sum(1), 0, atol=1e-7)


@pytest.mark.parametrize("outer", OUTER)
def test_batches_derivatives_and_hand_driven_steps(outer):
    """Over strengths, of which the last switches the default smoothing of an incremental solver off."""
    inner = _Incremental(tol=1e-10, max_steps=500)
    solver = outer(inner)
    fit = lambda s: jt.solve(jt.Composite(LOGISTIC, penalties.L2Squared(s)), solver, START)
    strengths = jnp.array([2e-4, 4e-4, 1.0])

    def loss(s):
        solution = fit(s)
        return jnp.sum(solution.params**2), solution

    compiled = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True)))
    (_, solution), slope = compiled(strengths)
    assert jnp.all(solution.result == jt.RESULTS.converged)
    np.testing.assert_array_equal(solution.state.smoothing > 0, [True, True, False])
    shift = 1e-5 * strengths
    difference = (compiled(strengths + shift)[0][0] - compiled(strengths - shift)[0][0]) / (2 * shift)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)

    problem = jt.Composite(LOGISTIC, penalties.L2Squared(strengths[1]))
    step = eqx.filter_jit(solver.step)
    params, state = START, solver.init(problem, START)
    for _ in range(int(solution.num_steps[1])):
        assert solver.error(problem, params, state) > 1e-10
        params, state = step(problem, params, state)
    np.testing.assert_allclose(params, solution.params[1], atol=1e-9)
    residual = problem.optimality(params, state.step_size)
    np.testing.assert_allclose(jnp.linalg.norm(residual), state.error, rtol=1e-3)


class _Incremental(jt.ProximalGradient):
    is_incremental = True

    def __init__(self, **settings):
        super().__init__(accelerated=False, line_search=False, **settings)


@pytest.mark.parametrize("outer", OUTER)
def test_single_precision_and_pytrees(outer):
    target = {"a": jnp.array([3.0, 0.2], jnp.float32), "b": jnp.array([-2.0], jnp.float32)}
    fit = lambda w: sum(jnp.sum((k + 1) * (w[n] - target[n]) ** 2) for k, n in enumerate("ab"))
    problem = jt.Composite(fit, penalties.L1(1.0))
    start = jax.tree.map(jnp.zeros_like, target)
    solution = jt.solve(problem, outer(jt.ProximalGradient(accelerated=False)), start)
    assert solution.result == jt.RESULTS.converged and solution.params["a"].dtype == jnp.float32
    np.testing.assert_allclose(solution.params["a"], [2.5, 0.0], atol=1e-3)
    np.testing.assert_allclose(solution.params["b"], [-1.75], atol=1e-3)


def test_catalyst_unrolls_and_qning_does_not():
    problem = lambda s: jt.Composite(
        jt.Quadratic(jnp.diag(jnp.array([1.0, 4.0])), -jnp.ones(2)), penalties.L2Squared(s)
    )
    solver = Catalyst(jt.ProximalGradient(0.2, accelerated=False, max_steps=100, tol=1e-10), smoothing=1.0)
    fit = lambda s: jnp.sum(jt.solve(problem(s), solver, jnp.zeros(2), adjoint=jt.implicit.Unrolled()).params)
    np.testing.assert_allclose(jax.grad(fit)(1.0), -1 / 4 - 1 / 25, rtol=1e-6)
    with pytest.raises(ValueError, match="no unrolled derivative"):
        jt.solve(problem(1.0), QNing(ISTA), jnp.zeros(2), adjoint=jt.implicit.Unrolled())


@pytest.mark.parametrize("outer", OUTER)
def test_results_other_than_converged(outer):
    assert jt.solve(HARD, outer(ISTA, max_steps=2), START).result == jt.RESULTS.max_steps_reached
    broken = jt.Composite(lambda w: jnp.sum(w) * jnp.nan, penalties.L1(0.05))
    assert jt.solve(broken, outer(jt.ProximalGradient(0.1)), START).result == jt.RESULTS.nonfinite


@pytest.mark.parametrize("outer", OUTER)
def test_the_default_smoothing(outer):
    rows = jnp.sum(X**2, axis=1) / 4
    weights = jnp.arange(1.0, N + 1)
    weighted = jt.LinearModel(losses.Logistic(), 2 * X, Y, weights=weights)
    poisson = jt.LinearModel(losses.Poisson(), X, jnp.ones(N))
    mu, searching = 1 / (100 * N), jt.ProximalGradient()
    for inner, smooth, expected in (
        (_Incremental(), LOGISTIC, jnp.max(rows) / N - mu),
        (searching, LOGISTIC, jnp.max(rows) / 100),
        (searching, weighted, jnp.max(4 * rows * weights) * N / jnp.sum(weights) / 100),
        (searching, poisson, 4 * jnp.max(rows) / 100),
        (_Incremental(), jt.Quadratic(2 * jnp.eye(P)), 0.02),
    ):
        state = outer(inner, smoothing=None).init(jt.Composite(smooth, penalties.L2Squared(mu)), START)
        np.testing.assert_allclose(state.smoothing, expected, rtol=1e-6)


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inner": "ista"}, TypeError, "inner must be a solver"),
        ({"inner": jt.OSQP()}, TypeError, "inner must be a solver"),
        ({"inner_steps": 0}, ValueError, "inner_steps must be at least 1"),
        ({"tol": -1.0}, ValueError, "tol must be nonnegative"),
        ({"max_steps": -1}, ValueError, "max_steps must be at least 0"),
        ({"smoothing": jnp.nan}, ValueError, "smoothing must be finite"),
    ],
)
def test_settings_out_of_range_are_refused(outer, arguments, error, message):
    with pytest.raises(error, match=message):
        outer(**{"inner": ISTA} | arguments)


def test_what_is_their_own_is_refused_too():
    with pytest.raises(ValueError, match="restart_every must be at least 1"):
        Catalyst(ISTA, restart_every=0)
    with pytest.raises(ValueError, match="memory must be at least 1"):
        QNing(ISTA, memory=0)
    miso = MISO(key=jax.random.key(0))
    for outer in OUTER:
        outer(miso).check(jt.Composite(LOGISTIC, penalties.L1(0.1)), START)
        with pytest.raises(ValueError, match="strongly convex penalty"):
            outer(miso, smoothing=-1.0).check(jt.Composite(LOGISTIC, penalties.L1(0.1)), START)
        with pytest.raises(ValueError, match="needs a convex penalty"):
            jt.solve(jt.Composite(LOGISTIC, penalties.MCP(0.1, 3.0)), outer(ISTA), START)
