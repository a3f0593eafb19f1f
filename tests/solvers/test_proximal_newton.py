"""Proximal Newton and semismooth Newton: few steps, superlinear, on every convex penalty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers import ProximalNewton, SemismoothNewton


N, P = 40, 12
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)) * np.logspace(0, 1, P))
SIGNS = jnp.asarray(np.where(RNG.normal(size=N) + np.asarray(X)[:, 0] > 0, 1.0, -1.0))
LOGISTIC = jt.LinearModel(losses.Logistic(), X, SIGNS)
SPARSE = jt.Composite(LOGISTIC, penalties.L1(0.05))
START = jnp.zeros(P)
METHODS = [ProximalNewton(tol=1e-10), SemismoothNewton(tol=1e-10)]
NAMES = ["proximal", "semismooth"]


@pytest.fixture(scope="module")
def reference():
    return jt.solve(SPARSE, jt.ProximalGradient(tol=1e-13, max_steps=50_000), START).params


@pytest.mark.parametrize(("method", "most"), [(METHODS[0], 8), (METHODS[1], 25)], ids=NAMES)
def test_sparse_logistic_regression_in_few_superlinear_steps(method, most, reference):
    solution = jt.solve(SPARSE, method, START, history=True)
    assert solution.result == jt.RESULTS.converged and solution.num_steps <= most
    np.testing.assert_allclose(solution.params, reference, atol=1e-8)
    np.testing.assert_array_equal(solution.params == 0, reference == 0)
    assert 0 < jnp.sum(reference == 0) < P
    # Each of the last ratios of errors is far below any linear rate that is worth the name.
    errors = np.asarray(solution.history.error)[: int(solution.num_steps)]
    assert errors[-1] / errors[-2] < 1e-2 and errors[-1] <= 1e-10
    # The certificate is that of the problem itself.
    assert penalties.L1(0.05).subdifferential_distance(solution.params, LOGISTIC.gradient(solution.params)) <= 1e-8


@pytest.mark.parametrize(
    ("method", "penalty"),
    [
        (METHODS[1], penalties.Simplex()),
        (METHODS[0], penalties.GroupLasso(0.1, np.arange(P) // 3)),
        (METHODS[1], penalties.Box(-0.1, 0.1)),
    ],
    ids=["semismooth, simplex", "proximal, groups", "semismooth, box"],
)
def test_penalties_that_are_not_separable_and_sets(penalty, method):
    problem = jt.Composite(LOGISTIC, penalty)
    solution = jt.solve(problem, method, START)
    assert solution.result == jt.RESULTS.converged
    expected = jt.solve(problem, jt.ProximalGradient(tol=1e-12, max_steps=50_000), START).params
    np.testing.assert_allclose(solution.params, expected, atol=1e-7)
    assert jnp.isfinite(problem.value(solution.params))


def test_a_first_order_inner_solver(reference):
    solution = jt.solve(SPARSE, ProximalNewton(jt.ProximalGradient(), tol=1e-10), START)
    assert solution.result == jt.RESULTS.converged and solution.num_steps <= 10
    np.testing.assert_allclose(solution.params, reference, atol=1e-8)
    assert solution.state.num_inner_steps > solution.num_steps


@pytest.mark.parametrize(
    "method", [SemismoothNewton(tol=1e-8), ProximalNewton(tol=1e-8)], ids=["semismooth", "proximal"]
)
def test_far_starts_of_a_steep_objective_are_searched(method):
    """Undamped Newton steps diverge from here: `sqrt(1 + w^2)` overshoots for |w| > 1."""
    problem = jt.Composite(lambda w: jnp.sum(jnp.sqrt(1 + w**2) - 0.3 * w), penalties.L1(0.1))
    solution = jt.solve(problem, method, jnp.array([30.0, -20.0]))
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, 0.2 / np.sqrt(1 - 0.2**2), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_single_precision(method, reference):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), SPARSE)
    solution = jt.solve(single, type(method)(), START.astype(jnp.float32))
    assert solution.params.dtype == solution.error.dtype == jnp.float32
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, reference, atol=2e-3)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_derivatives_agree_with_finite_differences_in_a_batch(method):
    def fit(strength, scale):
        problem = jt.Composite(jt.LinearModel(losses.Logistic(), X * scale, SIGNS), penalties.L1(strength))
        solution = jt.solve(problem, method, START)
        return jnp.sum(solution.params**2), solution.result == jt.RESULTS.converged

    step = 1e-5
    strengths = jnp.array([0.05, 0.05 + step, 0.05 - step, 0.05, 0.05, 1e3])
    scales = jnp.array([1.0, 1.0, 1.0, 1.0 + step, 1.0 - step, 1.0])
    both = jax.jit(jax.vmap(jax.value_and_grad(fit, (0, 1), has_aux=True)))
    (values, converged), slopes = both(strengths, scales)
    assert jnp.all(converged)
    np.testing.assert_allclose(slopes[0][0], (values[1] - values[2]) / (2 * step), rtol=1e-5)
    np.testing.assert_allclose(slopes[1][0], (values[3] - values[4]) / (2 * step), rtol=1e-5)
    # The row whose strength is beyond the critical one.
    assert values[5] == slopes[0][5] == slopes[1][5] == 0


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_hand_driven_steps_and_data_that_is_not_a_number(method):
    step = jax.jit(lambda params, state: method.step(SPARSE, params, state))
    params, state = START, jax.jit(lambda params: method.init(SPARSE, params))(START)
    while method.error(SPARSE, params, state) > 1e-10:
        params, state = step(params, state)
    expected = jt.solve(SPARSE, method, START, history=True).params
    np.testing.assert_allclose(params, expected, atol=1e-12)
    broken = jt.Composite(jt.LinearModel(losses.Logistic(), X.at[0, 0].set(jnp.nan), SIGNS), penalties.L1(0.05))
    solution = jt.solve(broken, method, START, history=True)
    assert solution.result == jt.RESULTS.nonfinite and jnp.all(solution.params == 0)


def test_steps_that_run_out_are_told():
    assert jt.solve(SPARSE, SemismoothNewton(max_steps=3), START).result == jt.RESULTS.max_steps_reached


@pytest.mark.parametrize("kind", [ProximalNewton, SemismoothNewton])
def test_what_does_not_fit_is_refused(kind):
    with pytest.raises(ValueError, match="needs a convex penalty, got MCP"):
        jt.solve(jt.Composite(LOGISTIC, penalties.MCP(0.1)), kind(), START)
    with pytest.raises(ValueError, match="no unrolled derivative"):
        jt.solve(SPARSE, kind(), START, adjoint=jt.implicit.Unrolled())
    with pytest.raises(ValueError, match="tol must be nonnegative"):
        kind(tol=-1.0)
    with pytest.raises(ValueError, match="max_steps must be at least 0"):
        kind(max_steps=-1)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="step_size must be positive"):
        SemismoothNewton(0.0)
    with pytest.raises(ValueError, match="max_linear_steps must be at least 1"):
        SemismoothNewton(max_linear_steps=0)
    with pytest.raises(TypeError, match="solver must be a solver"):
        ProximalNewton("newton")
    with pytest.raises(ValueError, match="max_inner_steps must be at least 1"):
        ProximalNewton(max_inner_steps=0)
