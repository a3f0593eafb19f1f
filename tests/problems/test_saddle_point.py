import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import penalties


N, P = 7, 5
RNG = np.random.default_rng(0)
K = jnp.asarray(RNG.normal(size=(N, P)))
CENTER = jnp.asarray(RNG.normal(size=P))
NEAR = penalties.Translated(penalties.L2Squared(1.0), CENTER)
PROBLEM = jt.SaddlePoint(None, NEAR, penalties.L1(0.3), K)
TIGHT = jt.ChambollePock(tol=1e-11)


@pytest.fixture(scope="module")
def solution():
    return jt.solve(PROBLEM, TIGHT, jnp.zeros(P))


def test_the_value_is_that_of_the_primal_problem():
    x, y = jnp.asarray(RNG.normal(size=P)), jnp.asarray(RNG.normal(size=N))
    problem = jt.SaddlePoint(jt.Quadratic(jnp.eye(P)), NEAR, penalties.L1(0.3), K)
    expected = x @ x / 2 + jnp.sum((x - CENTER) ** 2) / 2 + 0.3 * jnp.sum(jnp.abs(K @ x))
    np.testing.assert_allclose(problem.value((x, y)), expected, rtol=1e-12)


def test_the_dual_of_a_strongly_convex_problem_gives_its_solution(solution):
    # x = center - K'y, and y solves a box-constrained least squares problem.
    assert solution.result == jt.RESULTS.converged
    x, y = solution.params
    np.testing.assert_allclose(x, CENTER - K.T @ y, atol=1e-9)
    dual = jt.Composite(jt.Quadratic(K @ K.T, -K @ CENTER), penalties.Box(-0.3, 0.3))
    best = jt.solve(dual, jt.ProximalGradient(tol=1e-11), jnp.zeros(N)).params
    np.testing.assert_allclose(PROBLEM.value((x, y)), -dual.value(best), atol=1e-9)
    assert abs(PROBLEM.duality_gap((x, y))) < 1e-9 and PROBLEM.kkt_residual((x, y)) < 1e-10


@pytest.mark.parametrize("step", [1e-3, 1.0, 100.0])
def test_the_solution_is_a_fixed_point_for_any_step(solution, step):
    residual = PROBLEM.optimality(solution.params, step)
    assert max(jnp.max(jnp.abs(part)) for part in residual) < 1e-8 * max(1, step)


@pytest.mark.parametrize("kind", ["none", "linear model", "function"])
def test_the_duality_gap_bounds_the_distance_to_the_minimum(kind):
    smooth = {
        "none": None,
        "linear model": jt.LinearModel(jt.losses.Logistic(), K, jnp.sign(K @ CENTER)),
        "function": jt.FunctionTerm(lambda x: jnp.sum(jnp.cosh(x))),
    }[kind]
    penalty = penalties.L1(0.2) if kind == "linear model" else penalties.Box(-1.0, 2.0)
    problem = jt.SaddlePoint(smooth, penalty, penalties.Translated(penalties.L1(0.3), K @ CENTER), K)
    solved = jt.solve(problem, TIGHT, jnp.zeros(P))
    assert solved.result == jt.RESULTS.converged
    least = problem.value(solved.params)
    assert abs(problem.duality_gap(solved.params)) < 1e-8
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = jnp.clip(solved.params[0] + 0.3 * rng.normal(size=P), -1, 2)
        pair = (x, solved.params[1] + 0.3 * rng.normal(size=N))
        assert problem.duality_gap(pair) >= problem.value(pair) - least - 1e-9
        assert jnp.isfinite(problem.duality_gap(pair))


def test_every_form_of_the_operator_gives_the_same_solution(solution):
    forms = [lx.MatrixLinearOperator(K), jt.operators.as_operator(K), lambda x: K @ x]
    for form in forms:
        problem = jt.SaddlePoint(None, NEAR, penalties.L1(0.3), form)
        # Different ways to the norm of K: other steps, the same solution.
        np.testing.assert_allclose(jt.solve(problem, TIGHT, jnp.zeros(P)).params[0], solution.params[0], atol=1e-9)


def test_a_tree_with_a_tree_of_images():
    center = {"a": jnp.array([2.0, -1.0]), "b": jnp.array([[3.0]])}
    images = lambda x: (x["a"] - x["b"][0], 2.0 * x["b"])
    problem = jt.SaddlePoint(None, penalties.Translated(penalties.L2Squared(1.0), center), penalties.L1(0.5), images)
    solved = jt.solve(problem, jt.ChambollePock(tol=1e-10), center)
    assert solved.result == jt.RESULTS.converged and problem.duality_gap(solved.params) < 1e-9
    again = jt.solve(problem, jt.ChambollePock(tol=1e-9), solved.params)
    assert 2 * int(again.num_steps) < int(solved.num_steps)


def test_starts():
    x, y = PROBLEM.check(jnp.ones(P, jnp.float32))
    assert x.dtype == y.dtype == jnp.float64 and y.shape == (N,) and not y.any()
    pair = PROBLEM.check((jnp.ones(P), jnp.ones(N)))
    assert pair[1].shape == (N,) and pair[1].all()
    free = jt.SaddlePoint(None, penalties.L1(1.0), penalties.L2(1.0))
    assert free.check((jnp.ones(2), jnp.ones(2)))[0].shape == (2,)


def test_bad_input():
    with pytest.raises(ValueError, match="shape"):
        jt.solve(PROBLEM, TIGHT, jnp.zeros(P + 1))
    with pytest.raises(ValueError, match="dual variable"):
        PROBLEM.check((jnp.zeros(P), jnp.zeros(N + 1)))
    with pytest.raises(ValueError, match="convex"):
        jt.SaddlePoint(None, None, penalties.MCP(1.0, 2.0), K)
    with pytest.raises(TypeError, match="composed"):
        jt.SaddlePoint(None, None, 3.0, K)
    with pytest.raises(TypeError, match="smooth"):
        jt.SaddlePoint(3.0, None, NEAR, K)
    with pytest.raises(ValueError, match="linear"):
        jt.SaddlePoint(None, NEAR, penalties.L1(1.0), lambda x: x + 1).check(jnp.zeros(P))
    with pytest.raises(TypeError, match="SaddlePoint"):
        jt.solve(jt.bilevel.Bilevel(jnp.vdot, jnp.vdot), TIGHT, (jnp.zeros(2), jnp.zeros(2)))


def test_the_derivative_in_the_strength_and_the_center_is_that_of_finite_differences():
    direction = jnp.asarray(RNG.normal(size=P))

    def fit(strength, center):
        near = penalties.Translated(penalties.L2Squared(1.0), center)
        return (
            jt.solve(jt.SaddlePoint(None, near, penalties.L1(strength), K), TIGHT, jnp.zeros(P)).params[0] @ direction
        )

    by_strength, by_center = jax.grad(fit, (0, 1))(jnp.asarray(0.3), CENTER)
    h = 1e-5
    expected = (fit(0.3 + h, CENTER) - fit(0.3 - h, CENTER)) / (2 * h)
    np.testing.assert_allclose(by_strength, expected, rtol=1e-5, atol=1e-6)
    expected = (fit(0.3, CENTER + h * direction) - fit(0.3, CENTER - h * direction)) / (2 * h)
    np.testing.assert_allclose(by_center @ direction, expected, rtol=1e-5, atol=1e-6)


def test_the_derivative_in_the_strength_of_a_total_variation_whose_dual_is_not_unique():
    rng = np.random.default_rng(1)
    image = jnp.asarray(np.kron([[0.0, 1.0], [1.0, 3.0]], np.ones((2, 2))) + 0.1 * rng.normal(size=(4, 4)))

    def differences(x):
        down, right = jnp.diff(x, axis=0, append=x[-1:]), jnp.diff(x, axis=1, append=x[:, -1:])
        return jnp.stack([down, right], -1).reshape(-1, 2)

    def fit(strength):
        near = penalties.Translated(penalties.L2Squared(1.0), image)
        norms = penalties.GroupLasso(strength, np.arange(16))
        return jt.solve(jt.SaddlePoint(None, near, norms, differences), TIGHT, jnp.zeros((4, 4))).params[0]

    fit = jax.jit(fit)
    _, got = jax.jvp(fit, (jnp.asarray(0.2),), (jnp.asarray(1.0),))
    h = 1e-4
    np.testing.assert_allclose(got, (fit(0.2 + h) - fit(0.2 - h)) / (2 * h), atol=1e-4)
