import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers import AndersonAcceleration


N, P = 30, 8
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)) * np.logspace(0, 0.8, P))
Y = jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
LASSO = jt.Composite(SQUARED, penalties.L1(0.05))
START = jnp.zeros(P)
PLAIN = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-11, max_steps=20_000)
FAST = AndersonAcceleration(PLAIN)


@pytest.fixture(scope="module")
def reference():
    return jt.solve(LASSO, jt.ProximalGradient(tol=1e-13, max_steps=50_000), START).params


@pytest.mark.parametrize("penalty", [penalties.L1(0.05), penalties.Simplex()], ids=str)
def test_it_finds_the_solution_in_a_fraction_of_the_steps_and_its_values_never_rise(penalty):
    problem = jt.Composite(SQUARED, penalty)
    start = penalty.prox(START, 1.0)
    expected = jt.solve(problem, PLAIN, start)
    solution = jt.solve(problem, FAST, start, history=True)
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, expected.params, atol=1e-9)
    assert int(solution.num_steps) < int(expected.num_steps) / 3 or int(expected.num_steps) < 40
    values = np.asarray(solution.history.value)[: int(solution.num_steps)]
    assert np.all(np.diff(values) <= 16 * np.finfo(float).eps * np.abs(values[1:]))


def test_a_linear_map_is_solved_like_by_gmres():
    """Full memory on an affine map is GMRES (Walker and Ni 2011, theorem 2.2): a step for each distinct eigenvalue."""
    matrix = jnp.diag(jnp.array([1.0, 1.0, 4.0, 4.0, 9.0, 9.0]))
    problem = jt.Composite(jt.Quadratic(matrix, -jnp.arange(1.0, 7.0)))
    plain = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-9)
    solution = jt.solve(problem, AndersonAcceleration(plain, history=6, ridge=0.0), jnp.ones(6))
    np.testing.assert_allclose(solution.params, jnp.linalg.solve(matrix, jnp.arange(1.0, 7.0)), rtol=1e-8)
    assert solution.num_steps <= 3 + 3
    assert jt.solve(problem, plain, jnp.ones(6)).num_steps > 100


def test_the_default_solver_and_a_step_size_that_is_searched(reference):
    solution = jt.solve(LASSO, AndersonAcceleration(), START)
    assert solution.result == jt.RESULTS.converged and solution.state.num_accepted > 0
    np.testing.assert_allclose(solution.params, reference, atol=1e-6)


def test_the_error_is_that_of_what_is_returned():
    solution = jt.solve(LASSO, FAST, START)
    residual = LASSO.optimality(solution.params, solution.state.inner.step_size)
    scale = jnp.maximum(1, solution.state.inner.gradient_norm)
    assert jnp.linalg.norm(residual) / scale <= 1e-11


@pytest.mark.slow
def test_batches_modes_and_hand_driven_steps_agree():
    problems = jax.vmap(lambda s: jt.Composite(SQUARED, penalties.L1(s)))(jnp.array([0.02, 0.05]))
    solver = AndersonAcceleration(jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-4, max_steps=200))
    batch = jax.jit(jax.vmap(lambda p: jt.solve(p, solver, START)))(problems)
    step = jax.jit(lambda params, state: solver.step(LASSO, params, state))
    params, state = START, solver.init(LASSO, START)
    for _ in range(int(batch.num_steps[1])):
        assert solver.error(LASSO, params, state) > 1e-4
        params, state = step(params, state)
    assert solver.error(LASSO, params, state) <= 1e-4
    np.testing.assert_allclose(batch.params[1], params, atol=1e-11)
    np.testing.assert_allclose(jt.solve(LASSO, solver, START, mode="scan").params, params, atol=1e-11)


@pytest.mark.slow
def test_derivatives_implicit_and_unrolled_agree_with_finite_differences():
    def fit(strength, adjoint):
        problem = jt.Composite(SQUARED, penalties.L1(strength))
        return jt.solve(problem, FAST, START, adjoint=adjoint).params

    derivative = lambda adjoint: jax.jit(jax.value_and_grad(lambda s: jnp.sum(fit(s, adjoint) ** 2)))
    implicit = derivative(jt.implicit.Implicit())
    difference = (implicit(0.05 + 1e-5)[0] - implicit(0.05 - 1e-5)[0]) / 2e-5
    np.testing.assert_allclose(implicit(0.05)[1], difference, rtol=1e-6)
    np.testing.assert_allclose(derivative(jt.implicit.Unrolled())(0.05)[1], difference, rtol=1e-4)


def test_single_precision_and_pytrees(reference):
    split = lambda p: jnp.concatenate([p["a"], p["b"]])
    problem = jt.Composite(lambda p: SQUARED.value(split(p).astype(float)).astype(jnp.float32), penalties.L1(0.05))
    start = {"a": jnp.zeros(3, jnp.float32), "b": jnp.zeros(P - 3, jnp.float32)}
    solution = jt.solve(problem, AndersonAcceleration(), start)
    assert solution.result == jt.RESULTS.converged and solution.params["a"].dtype == jnp.float32
    np.testing.assert_allclose(split(solution.params), reference, atol=1e-3)


def test_results_other_than_converged():
    short = AndersonAcceleration(jt.ProximalGradient(accelerated=False, max_steps=2))
    assert jt.solve(LASSO, short, START).result == jt.RESULTS.max_steps_reached
    broken = jt.Composite(lambda w: SQUARED.value(w) * jnp.nan, penalties.L1(0.05))
    assert jt.solve(broken, AndersonAcceleration(), START).result == jt.RESULTS.nonfinite


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"solver": "ista"}, TypeError, "solver must be a solver"),
        ({"solver": jt.ProximalGradient()}, ValueError, "without momentum"),
        ({"solver": FAST}, ValueError, "without momentum"),
        ({"history": 0}, ValueError, "history must be at least 1"),
        ({"ridge": -1.0}, ValueError, "ridge must be nonnegative"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        AndersonAcceleration(**arguments)
