"""Splitting methods on composite problems, and the accelerated primal-dual method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers import AcceleratedChambollePock
from jaxopt_thoth.solvers._as_saddle_point import MeanLoss


N, P = 24, 6
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(X @ np.repeat([1.0, -0.5], P // 2) + 0.3 * RNG.normal(size=N))
SIGNS = jnp.sign(Y)
START = jnp.zeros(P)
TOL = 1e-10
GRAM, SLOPE = X.T @ X / N, -X.T @ Y / N
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
QUADRATIC = jt.Quadratic((GRAM + GRAM.T) / 2, SLOPE)
LOSSES = {
    "squared": (losses.Squared(), Y),
    "logistic": (losses.Logistic(), SIGNS),
    "squared hinge": (losses.SquaredHinge(), SIGNS),
    "smoothed hinge": (losses.SmoothedHinge(0.5), SIGNS),
    "huber": (losses.Huber(0.4), Y),
    "poisson": (losses.Poisson(), jnp.asarray(RNG.poisson(2.0, N), float)),
}
SOLVERS = {
    "chambolle-pock": jt.ChambollePock(tol=TOL),
    "balanced": jt.ChambollePock(restart=False, tol=TOL),
    "davis-yin": jt.DavisYin(tol=TOL),
    "douglas-rachford": jt.DouglasRachford(tol=TOL),
    "admm": jt.ADMM(tol=TOL),
}


def solved(problem, solver, start=START):
    solution = jt.solve(problem, solver, start)
    assert solution.result == jt.RESULTS.converged
    return solution


@pytest.mark.parametrize("name", LOSSES)
def test_the_prox_of_a_mean_loss_solves_its_equation(name):
    loss, targets = LOSSES[name]
    term = MeanLoss(loss, targets)
    x = jnp.asarray(3 * RNG.normal(size=N))
    prox = jax.jit(lambda v, step: term.prox(v, step))
    for step in (1e-3, 2.0, 1e4):
        z = prox(x, step)
        slope = step / N * loss.derivative(z, targets)
        scale = jnp.abs(x) + jnp.abs(z) + jnp.abs(slope)
        np.testing.assert_allclose((z - x + slope) / scale, 0, atol=1e-12)
    # Fenchel's equality, by the conjugate.
    z = prox(x, 2.0)
    u = (x - z) / 2
    np.testing.assert_allclose(term.value(z) + term.conjugate(u), jnp.vdot(z, u), rtol=1e-8, atol=1e-8)
    direction = jnp.asarray(RNG.normal(size=N))
    h = 1e-6
    ends = [prox(x + s * h * direction, 2.0) for s in (1, -1)]
    slope = jax.jvp(lambda v: prox(v, 2.0), (x,), (direction,))[1]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), atol=1e-6)


SHORT = {"logistic", "poisson"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in SHORT)) for n in LOSSES if n != "squared"],
)
def test_chambolle_pock_fits_a_model_of_any_loss(name):
    problem = jt.Composite(jt.LinearModel(*LOSSES[name][:1], X, LOSSES[name][1]), penalties.ElasticNet(0.03, 0.1))
    expected = solved(problem, jt.ProximalGradient(tol=1e-11)).params
    found = solved(problem, SOLVERS["chambolle-pock"])
    np.testing.assert_allclose(found.params, expected, atol=1e-8)
    np.testing.assert_array_equal(found.params == 0, expected == 0)


@pytest.mark.parametrize("smooth", [SQUARED, QUADRATIC], ids=["model", "quadratic"])
@pytest.mark.parametrize("name", SOLVERS)
def test_each_solves_a_composite_problem_with_its_derivative(name, smooth):
    problem = jt.Composite(smooth, penalties.L1(0.1))
    fit = lambda s, solver: jt.solve(jt.Composite(smooth, penalties.L1(s)), solver, START).params
    expected, slope = jax.jvp(lambda s: fit(s, jt.ProximalGradient(tol=1e-12)), (0.1,), (1.0,))
    found, found_slope = jax.jvp(lambda s: fit(s, SOLVERS[name]), (0.1,), (1.0,))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found_slope, slope, atol=1e-6)
    assert problem.optimality(found).shape == (P,)


def test_start_at_the_solution_stays_there():
    problem = jt.Composite(SQUARED, penalties.NonNegative())
    expected = solved(problem, jt.ProximalGradient(tol=1e-12)).params
    for name in ("chambolle-pock", "douglas-rachford", "davis-yin"):
        assert solved(problem, SOLVERS[name], expected).num_steps < 60


def test_several_outputs_and_float32_in_a_batch():
    targets = jnp.stack([Y, -2 * Y], 1)
    problem = jt.Composite(jt.LinearModel(losses.Squared(), X, targets), penalties.L1(0.05))
    expected = solved(problem, jt.ProximalGradient(tol=1e-12), jnp.zeros((P, 2))).params
    np.testing.assert_allclose(
        solved(problem, SOLVERS["chambolle-pock"], jnp.zeros((P, 2))).params, expected, atol=1e-8
    )
    single = jt.LinearModel(losses.Logistic(), jnp.asarray(X, jnp.float32), SIGNS)
    fit = lambda s: jt.solve(jt.Composite(single, penalties.L1(s)), jt.ChambollePock(), jnp.zeros(P, jnp.float32))
    batch = jax.jit(jax.vmap(fit))(jnp.array([0.02, 1.0], jnp.float32))
    assert jnp.all(batch.result == jt.RESULTS.converged) and batch.params.dtype == jnp.float32
    np.testing.assert_array_equal(batch.params[1], 0)


@pytest.mark.parametrize("with_smooth", [False, True])
def test_the_accelerated_method_keeps_its_bound(with_smooth):
    size, gamma, strength = 40, 0.5, 1.0
    signal = jnp.asarray(np.repeat([0.0, 2.0, 1.0, 3.0], 10) + 0.4 * RNG.normal(size=size))
    near = penalties.Translated(penalties.L2Squared(gamma), signal)
    differences = jnp.diff(jnp.eye(size), axis=0)
    smooth = jt.Quadratic(0.3 * jnp.eye(size)) if with_smooth else None
    problem = jt.SaddlePoint(smooth, near, penalties.L1(strength), differences)
    # `gamma/2 |x - b|^2 + c/2 |x|^2` is a parabola around `gamma b / (gamma + c)`.
    curvature = gamma + (0.3 if with_smooth else 0)
    exact = penalties.TotalVariation1D(strength).prox(gamma * signal / curvature, 1 / curvature)
    dual = jnp.cumsum(curvature * exact - gamma * signal)[:-1]
    np.testing.assert_allclose(jnp.max(jnp.abs(dual)), strength, rtol=1e-9)
    solver = AcceleratedChambollePock(gamma, weight=0.1)
    start = jnp.zeros(size), jnp.zeros(size - 1)
    state = solver.init(problem, start)
    step_size = state.step_size
    room = jnp.vdot(exact, exact) / step_size**2 + state.operator_norm**2 * jnp.vdot(dual, dual)

    def body(carry, _):
        pair, state = solver.step(problem, *carry)
        return (pair, state), (jnp.sum((pair[0] - exact) ** 2), state.step_size, state.error)

    squares, steps, errors = jax.lax.scan(body, (start, state), None, length=2000)[1]
    count = jnp.arange(1.0, 2001.0)
    assert jnp.all(squares <= steps**2 * room * (1 + 1e-9))
    # tau falls as 1 / (gamma t), with f as 2 / (gamma t).
    np.testing.assert_allclose(gamma * count[-1] * steps[-1], 2 if with_smooth else 1, rtol=0.05)
    assert jnp.all((squares * count**2)[100:] <= 1.1 * room * (2 if with_smooth else 1) ** 2 / gamma**2)
    assert errors[-1] < 2e-3 and squares[-1] < 1e-4


def test_the_accelerated_method_on_a_composite_problem_and_its_derivative():
    fit = lambda s, solver: jt.solve(jt.Composite(SQUARED, penalties.ElasticNet(s, 0.5)), solver, START)
    solver = AcceleratedChambollePock(0.5, tol=1e-6)
    assert fit(0.1, solver).result == jt.RESULTS.converged
    reference = jt.ProximalGradient(tol=1e-12)
    np.testing.assert_allclose(fit(0.1, solver).params, fit(0.1, reference).params, atol=1e-6)
    slopes = [jax.grad(lambda s, by=by: jnp.sum(fit(s, by).params ** 2))(0.1) for by in (solver, reference)]
    np.testing.assert_allclose(*slopes, rtol=1e-4)


def test_bad_input():
    model = jt.LinearModel(losses.Multinomial(), X, jnp.zeros(N, int))
    cases = [
        (jt.Composite(model), jt.ChambollePock(), TypeError, "Multinomial"),
        (jt.Composite(jnp.sum), jt.ChambollePock(), TypeError, "ProximalGradient"),
        (jt.Composite(jnp.sum), jt.DavisYin(), ValueError, "step_size"),
        (jt.Composite(jt.LinearModel(losses.Logistic(), X, SIGNS)), jt.DouglasRachford(), TypeError, "Squared"),
        (jt.Composite(SQUARED, penalties.MCP(1.0, 2.0)), jt.ChambollePock(), ValueError, "convex"),
        (jt.Composite(SQUARED, penalties.MCP(1.0, 2.0)), jt.DavisYin(), ValueError, "convex"),
        (jt.problems.MatrixGame(X), jt.ChambollePock(), TypeError, "SaddlePoint or a Composite"),
        (jt.problems.MatrixGame(X), jt.DouglasRachford(), TypeError, "SaddlePoint or a Composite"),
    ]
    for problem, solver, kind, match in cases:
        start = (jnp.zeros(N), START) if isinstance(problem, jt.problems.MatrixGame) else START
        start = jnp.zeros((P, 2)) if getattr(problem, "smooth", None) is model else start
        with pytest.raises(kind, match=match):
            jt.solve(problem, solver, start)
    for make in (lambda: AcceleratedChambollePock(0.0), lambda: AcceleratedChambollePock(1.0, weight=-1.0)):
        with pytest.raises(ValueError):
            make()
