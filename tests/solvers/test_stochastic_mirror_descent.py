import importlib.util
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth import mirror, penalties, solvers
from jaxopt_thoth.smooth import Expectation, FiniteSum
from jaxopt_thoth.solvers._relative_variance import stochastic_objective


N, P = 16, 4
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(X @ RNG.dirichlet(np.ones(P)))
KEY = jax.random.key(0)
UNIFORM = jnp.full(P, 1 / P)
ENTROPY = mirror.NegativeEntropy()


def squared(w, example):
    row, target = example
    return (jnp.vdot(row, w) - target) ** 2 / 2


SUM = FiniteSum(squared, (X, Y))


def load_example():
    path = Path(__file__).parents[2] / "examples" / "gaussian_mle_mirror.py"
    spec = importlib.util.spec_from_file_location("gaussian_mle_mirror", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gaussian = load_example()


def test_a_finite_sum_is_the_linear_model_and_samples_without_bias():
    model = jt.LinearModel(jt.losses.Squared(), X, Y)
    np.testing.assert_allclose(SUM.value(UNIFORM), model.value(UNIFORM), rtol=1e-13)
    np.testing.assert_allclose(SUM.gradient(UNIFORM), model.gradient(UNIFORM), rtol=1e-12)
    weights = jnp.arange(1.0, N + 1)
    weighted = FiniteSum(squared, (X, Y), weights=weights, batch_size=50_000)
    value, gradient = weighted.sampled_value_and_grad(UNIFORM, KEY)
    np.testing.assert_allclose(value, weighted.value(UNIFORM), rtol=0.03)
    np.testing.assert_allclose(gradient, weighted.gradient(UNIFORM), atol=0.03)
    rows = weights / weights.sum()
    residual = X @ UNIFORM - Y
    np.testing.assert_allclose(weighted.gradient(UNIFORM), X.T @ (rows * residual), rtol=1e-12)


def test_without_noise_it_is_mirror_descent():
    single = FiniteSum(lambda w, _: jnp.mean((X @ w - Y) ** 2) / 2, jnp.zeros((1, 1)))
    problem = jt.Composite(single, penalties.Simplex())
    settings = {"max_steps": 60, "tol": 0.0}
    solver = jt.StochasticMirrorDescent(ENTROPY, solvers.DecayingStep(0.5), key=KEY, **settings)
    found = jt.solve(problem, solver, UNIFORM)
    expected = jt.solve(problem, jt.MirrorDescent(ENTROPY, solvers.DecayingStep(0.5), **settings), UNIFORM)
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-12)
    np.testing.assert_allclose(found.state.average, expected.state.average, rtol=1e-12)


def test_under_interpolation_it_converges_and_says_so():
    """Each row fits exactly, so that a constant step does; the derivative is that of the solution."""
    problem = jt.Composite(SUM, penalties.Simplex())
    solver = jt.StochasticMirrorDescent(ENTROPY, 0.1, key=KEY, check_every=50, tol=1e-7, max_steps=30_000)
    run = jax.jit(jax.vmap(lambda key: jt.solve(problem, eqx.tree_at(lambda s: s.key, solver, key), UNIFORM)))
    found = run(jax.random.split(KEY, 3))
    exact = np.linalg.lstsq(X, Y)[0]
    assert np.all(np.asarray(found.num_steps) % 50 == 0) and np.all(found.result == jt.RESULTS.converged)
    np.testing.assert_allclose(found.params, np.broadcast_to(exact, (3, P)), atol=1e-5)
    assert len(np.unique(found.num_steps)) > 1 or not np.allclose(found.params[0], found.params[1], atol=1e-14)


def test_results_keys_and_single_precision():
    problem = jt.Composite(FiniteSum(squared, (X.astype(jnp.float32), Y.astype(jnp.float32)), batch_size=2))
    start = UNIFORM.astype(jnp.float32)
    solver = jt.StochasticMirrorDescent(mirror.Euclidean(), 0.05, key=KEY, max_steps=40)
    found = jt.solve(problem, solver, start)
    assert found.result == jt.RESULTS.max_steps_reached and found.num_steps == 40
    assert found.params.dtype == jnp.float32 and found.state.average.dtype == jnp.float32
    scanned = jt.solve(problem, solver, start, mode="scan")
    np.testing.assert_allclose(scanned.params, found.params, rtol=1e-5)
    huge = eqx.tree_at(lambda s: s.rule.size, solver, jnp.array(1e30))
    broken = jt.solve(problem, huge, start)
    assert broken.result == jt.RESULTS.nonfinite and np.all(np.isfinite(broken.params))
    # By hand: the iterates of the loop, from the key in the state.
    params, state = start, solver.init(problem, start)
    step = jax.jit(lambda params, state: solver.step(problem, params, state))
    for _ in range(40):
        params, state = step(params, state)
    np.testing.assert_allclose(params, found.params, rtol=1e-5)


@pytest.mark.slow
def test_the_identity_behind_the_variance_is_exact():
    """`E D(x*, x_new) = D(x*, x) - eta D_f(x*, x) - eta (f_eta(x) - inf f_eta) + eta^2 variance`, at any x.

    The infimum cancels from the right-hand side; what is left is tested where nothing is Euclidean.
    """
    h = mirror.UnnormalizedEntropy()
    term = FiniteSum(lambda x, t: jnp.sum(x * jnp.log(x / t) - x), jnp.asarray(RNG.random((5, 3)) + 0.5))
    best = jnp.exp(jnp.mean(jnp.log(term.data), axis=0))
    np.testing.assert_allclose(term.gradient(best), 0, atol=1e-14)
    x, eta = jnp.array([0.3, 1.0, 2.5]), 0.4
    moves = jax.vmap(lambda t: h.step(x, jax.grad(term.evaluate)(x, t), eta))(term.data)
    left = jnp.mean(jax.vmap(lambda new: h.divergence(best, new))(moves))
    bregman = term.value(best) - term.value(x) - jnp.vdot(term.gradient(x), best - x)
    shifted = stochastic_objective(term, h, eta, x)
    right = h.divergence(best, x) - eta * bregman - eta * (shifted - term.value(best))
    np.testing.assert_allclose(left, right, rtol=1e-12)
    # f_eta is -sum x E(t/x)^eta / eta and terms linear in x, and its infimum is found: no point is lower.
    found = solvers.relative_variance(term, h, eta, jnp.ones(3))
    np.testing.assert_allclose(found.solution, best, rtol=1e-7)
    least = stochastic_objective(term, h, eta, found.minimizer)
    np.testing.assert_allclose(found.variance, (term.value(best) - least) / eta, rtol=1e-9)
    others = found.minimizer[None] * jnp.exp(0.1 * jnp.asarray(RNG.normal(size=(50, 3))))
    assert np.all(jax.vmap(lambda z: stochastic_objective(term, h, eta, z))(others) >= least)


@pytest.mark.slow
def test_the_variance_of_euclidean_steps():
    """`sup_x E|g|^2 / 2 - (f(x) - f*) / eta`: for unit curvature half the variance of the noise, whatever eta."""
    points = jnp.asarray(RNG.normal(size=(7, 2)))
    term = FiniteSum(lambda w, t: jnp.sum((w - t) ** 2) / 2, points)
    find = jax.vmap(lambda eta: solvers.relative_variance(term, mirror.Euclidean(), eta, jnp.ones(2)).variance)
    np.testing.assert_allclose(find(jnp.array([0.01, 0.5, 0.9])), np.full(3, np.var(points, axis=0).sum() / 2))
    # Nothing is left of it where one point fits all.
    quiet = FiniteSum(squared, (X, Y))
    found = solvers.relative_variance(quiet, mirror.Euclidean(), 0.5 / jnp.max(jnp.sum(X**2, axis=1)), UNIFORM)
    np.testing.assert_allclose(found.variance, 0, atol=1e-10)


def closed_form(eta):
    """Least of `ln(v) / 2 + (ln(1 - eta) + E ln(1 + eta z^2 / v)) / (2 eta)`, by quadrature and a bounded search."""

    def value(v):
        density = lambda z: 2 * np.log1p(eta * z * z / v) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        return np.log(v) / 2 + (np.log1p(-eta) + scipy.integrate.quad(density, 0, np.inf)[0]) / (2 * eta)

    found = scipy.optimize.minimize_scalar(value, bounds=(1e-3, 1.2), method="bounded", options={"xatol": 1e-9})
    return -found.fun / eta, found.x


@pytest.fixture(scope="module")
def variances():
    etas = jnp.array([0.75, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001])
    return etas, gaussian.variances(etas)


def test_the_variance_of_gaussian_likelihood(variances):
    etas, found = variances
    table = [1.4308, 1.165508, 1.041840, 1.005068, 0.999771, 0.999355, 0.999919]
    np.testing.assert_allclose(found.variance, table, atol=5e-5)
    mean, variance = gaussian.FAMILY.moments(found.minimizer.T)
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(gaussian.FAMILY.moments(found.solution.T)[1], 1, rtol=1e-7)
    assert np.all(found.residual < 1e-12)
    for k in range(4):
        expected = closed_form(float(etas[k]))
        np.testing.assert_allclose((found.variance[k], variance[k]), expected, rtol=1e-6)
        curve = gaussian.stochastic_objective(etas[k], variance[k : k + 1])
        np.testing.assert_allclose(-curve[0] / etas[k], expected[0], rtol=1e-6)


def test_one_pass_is_the_estimate_with_a_prior_and_within_its_bound(variances):
    """Estimates equal the prior's formula to rounding, and their mean divergence is below the bound."""
    paths, formula = jax.jit(jax.vmap(gaussian.estimates))(jax.random.split(KEY, 200))
    np.testing.assert_allclose(paths, formula, rtol=1e-9, atol=1e-11)
    to_truth, from_truth = gaussian.mean_divergences(paths)
    steps = 1 / (gaussian.PRIOR_COUNT + jnp.arange(1.0, gaussian.EXAMPLES + 1))
    etas, found = variances
    limit = gaussian.bound(jnp.interp(steps, etas[::-1], found.variance[::-1]))
    np.testing.assert_allclose(limit[jnp.array([0, 9, 99, 999])], [2.541, 0.6047, 0.0874, 0.0111], rtol=5e-3)
    assert np.all(to_truth <= limit)
    # Both fall as 1 / n, which is the number of parameters over 2 n.
    for mean in (to_truth, from_truth):
        np.testing.assert_allclose(1000 * mean[-1], 1, rtol=0.25)


def test_closed_forms_of_the_example_without_a_prior():
    to_truth, from_truth = gaussian.without_prior(jnp.array([5.0, 10.0, 50.0]))
    np.testing.assert_allclose(to_truth, [0.24675, 0.11028, 0.02037], atol=6e-6)
    np.testing.assert_allclose(from_truth, [0.75325, 0.17543, 0.02218], atol=6e-6)
    truth = gaussian.FAMILY.natural(jnp.array(0.0), jnp.array(1.0))
    draws = np.random.default_rng(0).normal(size=(100_000, 10))
    fits = gaussian.FAMILY.natural(jnp.asarray(draws.mean(axis=1)), jnp.asarray(draws.var(axis=1)))
    np.testing.assert_allclose(jnp.mean(gaussian.FAMILY.divergence(truth[:, None], fits)), to_truth[1], rtol=0.02)
    np.testing.assert_allclose(jnp.mean(gaussian.FAMILY.divergence(fits, truth[:, None])), from_truth[1], rtol=0.02)


def test_bad_input():
    sampled = jt.Composite(Expectation(lambda w, t: jnp.sum(w - t) ** 2, jax.random.normal))
    assert np.isnan(sampled.value(UNIFORM)) and np.all(np.isnan(sampled.smooth.gradient(UNIFORM)))
    euclidean = lambda **settings: jt.StochasticMirrorDescent(mirror.Euclidean(), 0.1, key=KEY, **settings)
    with pytest.raises(TypeError, match="smooth term that it can sample"):
        jt.solve(jt.Composite(jt.Quadratic(jnp.eye(P))), euclidean(), UNIFORM)
    with pytest.raises(ValueError, match="check_every needs the exact"):
        jt.solve(sampled, euclidean(check_every=5), UNIFORM)
    with pytest.raises(ValueError, match="compares values"):
        jt.StochasticMirrorDescent(ENTROPY, solvers.PolyakStep(0.0), key=KEY)
    with pytest.raises(ValueError, match="key must be a random key"):
        jt.StochasticMirrorDescent(ENTROPY, 0.1, key=0)
    with pytest.raises(ValueError, match="interior of the domain"):
        jt.solve(
            jt.Composite(SUM, penalties.Simplex()), jt.StochasticMirrorDescent(ENTROPY, 0.1, key=KEY), jnp.eye(P)[0]
        )
    with pytest.raises(ValueError, match="one leading axis"):
        FiniteSum(squared, (X, Y[:-1]))
    with pytest.raises(ValueError, match="weights must have shape"):
        FiniteSum(squared, (X, Y), weights=jnp.ones(3))
    with pytest.raises(ValueError, match="return a scalar"):
        jt.solve(jt.Composite(FiniteSum(lambda w, e: w, (X, Y))), euclidean(), UNIFORM)
    with pytest.raises(TypeError, match="must be a FiniteSum"):
        solvers.relative_variance(jt.Quadratic(jnp.eye(P)), ENTROPY, 0.1, UNIFORM)
    with pytest.raises(ValueError, match="one example a step"):
        solvers.relative_variance(FiniteSum(squared, (X, Y), batch_size=2), ENTROPY, 0.1, UNIFORM)
