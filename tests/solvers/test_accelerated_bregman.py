import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, mirror, penalties


N = 12
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(20, N)))
Y = jnp.asarray(X @ RNG.dirichlet(np.full(N, 0.3)) + 0.1 * RNG.normal(size=20))
PROBLEM = jt.Composite(jt.LinearModel(losses.Squared(), X, Y), penalties.Simplex())
UNIFORM = jnp.full(N, 1 / N)
ENTROPY = mirror.NegativeEntropy()
BURG = mirror.SimplexBurgEntropy()
Accelerated = jt.AcceleratedBregmanProximalGradient


@pytest.fixture(scope="module")
def reference():
    return jt.solve(PROBLEM, jt.ProximalGradient(tol=1e-13), UNIFORM).params


def certified(problem, solver, start, divergence, steps):
    """Excess over the certificate at each step, driven by hand; also values, states and the last iterate."""
    step = eqx.filter_jit(lambda params, state: solver.step(problem, params, state))
    params, state = start, solver.init(problem, start)
    values, bounds, means = [], [], []
    for _ in range(steps):
        params, state = step(params, state)
        values.append(float(problem.value(params)))
        bounds.append(float(state.bound * divergence))
        means.append(float(state.mean_gain))
    return np.array(values), np.array(bounds), np.array(means), params


@pytest.mark.parametrize("exponent", [1.5, 2.0])
def test_certificate_bounds_the_excess_and_falls_with_the_gain(exponent, reference):
    smoothness = float(jnp.max(jnp.abs(X.T @ X)) / 20)
    solver = Accelerated(ENTROPY, smoothness, exponent=exponent)
    distance = ENTROPY.divergence(reference, UNIFORM)
    values, bounds, means, params = certified(PROBLEM, solver, UNIFORM, distance, 60)
    assert np.all(values - float(PROBLEM.value(reference)) <= bounds + 1e-15)
    # What the paper states in terms of the mean of the gains is looser.
    k = np.arange(60)
    stated = (exponent / (k + exponent)) ** exponent * means * smoothness * float(distance)
    assert np.all(bounds <= stated * (1 + 1e-10))
    np.testing.assert_allclose(jnp.sum(params), 1, rtol=1e-12)


def _design():
    rng = np.random.RandomState(10)
    rows = jnp.asarray(rng.randn(80, 200))
    return jt.Composite(
        jt.FunctionTerm(lambda x, rows: -jnp.linalg.slogdet((rows * x[None]) @ rows.T)[1], rows), penalties.Simplex()
    )


@pytest.mark.slow
def test_optimal_design_in_as_few_steps_as_the_reference_code():
    """The instance of the authors' code (80 x 200): to a gap of 1e-2, 83 steps of the plain and 13 of this method."""
    problem, start = _design(), jnp.full(200, 1 / 200)
    np.testing.assert_allclose(problem.value(start), 19.1036411, atol=1e-7)
    minimum = 17.584910
    plain = jt.solve(problem, jt.MirrorDescent(BURG, 1.0, tol=0.0, max_steps=83), start, history=True).history.value
    assert plain[-2] - minimum > 1e-2 >= plain[-1] - minimum
    solver = Accelerated(BURG, 1.0, gain=0.1, tol=0.0, max_steps=13)
    solution = jt.solve(problem, solver, start, history=True)
    assert solution.history.value[-1] - minimum <= 1e-2
    assert solution.state.mean_gain < 0.5
    # <x, gradient> = -m at every feasible x, and the gap of Frank and Wolfe bounds the excess.
    gradient = problem.smooth.gradient(solution.params)
    np.testing.assert_allclose(solution.params @ gradient, -80, rtol=1e-10)
    assert jnp.max(-gradient) - 80 >= solution.history.value[-1] - minimum


def test_poisson_inverse_problem_relative_to_the_barrier():
    """Linear intensities: f has no Lipschitz gradient, and is |b|_1-smooth relative to the barrier."""
    rng = np.random.RandomState(1)
    design = rng.rand(40, 15)
    design /= design.sum(0)
    counts = design @ np.maximum(rng.rand(15) - 0.5, 0) + 0.01 * rng.rand(40)
    divergence = lambda x, a, b: jnp.sum(b * jnp.log(b / (a @ x)) - b + a @ x) + 1e-3 * jnp.sum(x)
    term = jt.FunctionTerm(divergence, jnp.asarray(design), jnp.asarray(counts))
    problem, start = jt.Composite(term, penalties.NonNegative()), jnp.full(15, 0.2)
    smoothness = counts.sum()
    settings = {"tol": 0.0, "max_steps": 160}
    values = {
        name: jt.solve(problem, solver, start, history=True).history.value
        for name, solver in {
            "plain": jt.MirrorDescent(mirror.BurgEntropy(), 1 / smoothness, **settings),
            "accelerated": Accelerated(mirror.BurgEntropy(), smoothness, **settings),
        }.items()
    }
    best = jt.solve(problem, jt.ProximalGradient(tol=1e-9), start).params
    minimum = problem.value(best)
    assert np.all(np.diff(values["plain"]) <= 1e-14)
    reached = int(np.argmax(values["accelerated"] - minimum <= 1e-3))
    assert 0 < reached < 100
    assert values["plain"][2 * reached] - minimum > 1e-3
    assert values["accelerated"][-1] - minimum < values["plain"][-1] - minimum


@pytest.mark.parametrize(("dtype", "restart"), [(jnp.float64, False), (jnp.float32, True)])
def test_reaches_its_tolerance_where_the_solution_is_inside(dtype, restart):
    center = jnp.asarray(RNG.dirichlet(np.ones(N)), dtype)
    problem = jt.Composite(jt.Quadratic(jnp.eye(N, dtype=dtype), -center), penalties.Simplex())
    solution = jt.solve(problem, Accelerated(ENTROPY, restart=restart), UNIFORM.astype(dtype))
    assert solution.result == jt.RESULTS.converged
    assert solution.params.dtype == solution.state.bound.dtype == dtype
    np.testing.assert_allclose(solution.params, center, atol=1e-3 if dtype == jnp.float32 else 1e-7)


def test_batches_and_derivatives():
    center = jnp.array([0.1, 0.2, 0.3, 0.4])

    def fit(scale):
        problem = jt.Composite(jt.Quadratic(jnp.eye(4), -scale * center), penalties.Simplex())
        return jnp.sum(jt.solve(problem, Accelerated(ENTROPY, tol=1e-7), jnp.full(4, 0.25)).params ** 2)

    exact = lambda scale: jnp.sum(jt.projections.simplex(scale * center) ** 2)
    scales = jnp.array([1.0, 1.1])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(fit)))(scales)
    np.testing.assert_allclose(values, jax.vmap(exact)(scales), rtol=1e-6)
    np.testing.assert_allclose(slopes, jax.vmap(jax.grad(exact))(scales), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Accelerated(ENTROPY, 0.0), "smoothness must be positive"),
        (lambda: Accelerated(ENTROPY, gain=-1.0), "gain must be positive"),
        (lambda: Accelerated(ENTROPY, exponent=0.5), "exponent - 1"),
        (lambda: Accelerated(ENTROPY, shrink=2.0), "shrink"),
        (lambda: Accelerated(mirror.BurgEntropy()), "does not fit mirror_map"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        jt.solve(PROBLEM, make(), UNIFORM)
    with pytest.raises(ValueError, match="interior of the domain"):
        jt.solve(PROBLEM, Accelerated(ENTROPY), jnp.zeros(N))
