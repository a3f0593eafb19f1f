import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers import LBFGSB


N, P = 60, 30
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)) * np.logspace(0, 1.5, P))
Y = jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
START = jnp.zeros(P)
NNLS = jt.Composite(SQUARED, penalties.NonNegative())


def rosenbrock(w):
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


@pytest.fixture(scope="module")
def reference():
    return scipy.optimize.nnls(np.asarray(X), np.asarray(Y))[0]


def test_nonnegative_least_squares(reference):
    solution = jt.solve(NNLS, LBFGSB(tol=1e-10), START)
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, reference, atol=1e-9)
    np.testing.assert_array_equal(solution.params == 0, reference == 0)
    assert 0 < np.sum(reference == 0) < P


def test_rosenbrock_like_scipy_and_in_about_as_many_evaluations():
    n = 20
    lower, upper = np.full((3, n), -np.inf), np.full((3, n), np.inf)
    lower[1], upper[1] = -1.5, 0.8
    lower[2, ::2] = 0.5
    starts = np.clip(np.full(n, -1.2), lower, upper)
    fit = lambda low, high, start: jt.solve(jt.Composite(rosenbrock, penalties.Box(low, high)), LBFGSB(tol=1e-9), start)
    batch = jax.jit(jax.vmap(fit))(lower, upper, starts)
    assert jnp.all(batch.result == jt.RESULTS.converged)
    both = jax.jit(jax.value_and_grad(rosenbrock))
    ours, peers = 0, 0
    for row in range(3):
        peer = scipy.optimize.minimize(
            lambda w: tuple(np.asarray(part) for part in both(w)),
            starts[row],
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(lower[row], upper[row], strict=True)),
            options={"ftol": 0, "gtol": 1e-9, "maxfun": 10_000},
        )
        np.testing.assert_allclose(batch.params[row], peer.x, atol=1e-7)
        ours, peers = ours + int(batch.state.num_evaluations[row]), peers + peer.nfev
    assert ours <= 1.5 * peers


def test_an_ill_conditioned_quadratic_takes_few_steps_and_none_uphill():
    matrix = jnp.diag(jnp.array([1.0, 10.0, 100.0, 1000.0]))
    solution = jt.solve(jt.Composite(jt.Quadratic(matrix, -jnp.ones(4))), LBFGSB(tol=1e-10), jnp.zeros(4), history=True)
    np.testing.assert_allclose(solution.params, 1 / jnp.diag(matrix), rtol=1e-8)
    assert solution.num_steps <= 40
    values = np.asarray(solution.history.value)[: int(solution.num_steps)]
    assert np.all(np.diff(values) <= 1e-15)


def test_trees_infeasible_starts_single_precision_and_modes(reference):
    fn = lambda p: SQUARED.value(jnp.concatenate([p["a"], p["b"]]))
    problem = jt.Composite(fn, penalties.NonNegative())
    start = {"a": jnp.full(10, -5.0), "b": jnp.ones(P - 10)}
    solution = jt.solve(problem, LBFGSB(tol=1e-9, max_steps=400), start, mode="scan")
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(jnp.concatenate([solution.params["a"], solution.params["b"]]), reference, atol=1e-8)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), NNLS)
    solution = jt.solve(single, LBFGSB(), START.astype(jnp.float32))
    assert solution.params.dtype == solution.error.dtype == jnp.float32
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, reference, atol=1e-3)


def test_a_start_at_the_solution_takes_one_evaluation_more():
    problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([1.0, -0.5])), penalties.Box(0.0, 1.0))
    solution = jt.solve(problem, LBFGSB(), jnp.array([0.0, 0.5]))
    assert solution.result == jt.RESULTS.converged and solution.num_steps == 1
    assert solution.state.num_evaluations <= 3


def test_derivatives_agree_with_finite_differences_and_hand_driven_steps_with_solve():
    solver = LBFGSB(tol=1e-11)

    def fit(upper):
        return jnp.sum(jt.solve(jt.Composite(SQUARED, penalties.Box(-0.05, upper)), solver, START).params ** 2)

    both = jax.jit(jax.value_and_grad(fit))
    difference = (both(0.05 + 1e-5)[0] - both(0.05 - 1e-5)[0]) / 2e-5
    np.testing.assert_allclose(both(0.05)[1], difference, rtol=1e-5)
    step = jax.jit(lambda params, state: solver.step(NNLS, params, state))
    params, state = START, solver.init(NNLS, START)
    for _ in range(3):
        params, state = step(params, state)
    short = jt.solve(NNLS, LBFGSB(max_steps=3), START)
    assert short.result == jt.RESULTS.max_steps_reached
    np.testing.assert_allclose(short.params, params, atol=1e-12)


def test_barriers_are_searched_and_what_is_not_a_number_is_reported():
    inside = lambda w: jnp.where(w > 0, 100 * w - jnp.log(jnp.where(w > 0, w, 1)), jnp.nan)
    solution = jt.solve(jt.Composite(lambda w: jnp.sum(inside(w))), LBFGSB(), jnp.full(2, 5.0))
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, 0.01, rtol=1e-6)
    broken = jt.solve(jt.Composite(lambda w: jnp.sum(w) * jnp.nan), LBFGSB(), jnp.ones(2))
    assert broken.result == jt.RESULTS.nonfinite and jnp.all(broken.params == 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"needs the penalty Zero\(\), NonNegative\(\) or Box.*got L1"):
        jt.solve(jt.Composite(SQUARED, penalties.L1(0.1)), LBFGSB(), START)
    with pytest.raises(ValueError, match="no unrolled derivative"):
        jt.solve(NNLS, LBFGSB(), START, adjoint=jt.implicit.Unrolled())
    with pytest.raises(ValueError, match="history must be at least 1"):
        LBFGSB(history=0)
    with pytest.raises(ValueError, match="tol must be nonnegative"):
        LBFGSB(tol=-1.0)
